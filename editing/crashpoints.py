"""Named points at which a process can be killed on purpose, to test that a restart reaches the same result.

`KBSYNC_CRASH="editing.worker:after-checkpoint"` kills the process (SIGKILL: no handlers, no flushing)
when it first passes that point; `...@3` when it passes it for the third time.  With `!STOP` at the end the
process is stopped instead, until it receives SIGCONT.  Without the variable a crash point does nothing.
The points in this package, in the order in which a build passes them:

    editing.worker:after-known            the base has been asked, nothing is edited yet
    editing.worker:after-build            every δ is cached, the new tensors are in memory only
    editing.checkpoints:before-rename     the staging directory is complete and synced
    editing.checkpoints:after-rename      the checkpoint has its name, its parent is not yet synced
    editing.worker:after-checkpoint       the checkpoint is durable, nothing has been judged
    editing.worker:before-report          everything is judged, the report is not written
    editing.worker:after-report           the report is durable, the daemon has not read it yet

Points while importing a base, switching `live`, and cleaning up:

    editing.bases:before-rename           the imported base is complete under its temporary name
    editing.checkpoints:before-switch     the temporary link exists, `live` is the old one
    editing.checkpoints:after-switch      `live` is the new one, its parent is not yet synced
    editing.checkpoints:during-removal    a directory to be removed is renamed, its files still exist

Torch-free.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "KBSYNC_CRASH"

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill or stop this process if `KBSYNC_CRASH` names this point and this pass."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    wanted, _, stop = wanted.partition("!")
    point, _, nth = wanted.partition("@")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGSTOP if stop == "STOP" else signal.SIGKILL)
