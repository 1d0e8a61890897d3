"""Telling servers of a promotion: the outbox's side of `deployed`.

The built-in target is the `live` link itself: a server that loads `<home>/checkpoints/live` needs no
hook.  A run is `deployed` when what is observed there is the promoted version.
"""

from __future__ import annotations

from editing import checkpoints
from kbsync.errors import TryLater
from kbsync.home import Home
from state.records import Checkpoint


def observe_link(home: Home, promoted: Checkpoint) -> str:
    """The version that `live` points to; raises TryLater unless it is the promoted one."""
    observed = checkpoints.read_live(home.checkpoints)
    if observed != promoted.path:
        raise TryLater(
            f"{home.live} points to {observed}, not to the promoted {promoted.path}",
            "the next cycle repairs the link",
        )
    return observed
