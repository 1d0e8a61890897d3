"""Scrubbing: every byte of the base and of live is read again and compared with its digest.

Disks lose bits, and people change files.  Damage that copying can repair is repaired at once: a damaged base is
imported again from its origin, files that live shares with the base are linked again, and the link `live` is switched
back.  A damaged shard of live's own is built again by the next cycle (`runs/recovery.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from editing.errors import EditingError
from editing.storage import checkpoints
from kbsync.application import Application
from kbsync.deployment.live import absent
from kbsync.errors import KbsyncError
from kbsync.leadership import ACTOR, Leadership
from kbsync.runs import promotion
from state.records import CheckName, Checkpoint

log = structlog.get_logger()


def scrub(app: Application, leadership: Leadership) -> str:
    """Verify base and live, and repair what copying can repair; returns what is still wrong, if anything."""
    with app.state.read() as tx:
        live = tx.live()
    if live is None:
        return ""
    wrong = [_base(app, leadership, live), _live(app, leadership, live)]
    return "; ".join(one for one in wrong if one)


def check_link(app: Application, leadership: Leadership) -> str:
    """Record where `live` leads if that is outside the checkpoints' directory: kbsync never writes such a link.

    Returns why the link cannot be switched back, if it cannot: something else is in its place, and kbsync does not
    delete what it has not put there.
    """
    place = app.home.live
    if os.path.lexists(place) and not place.is_symlink():
        advice = "move it away; `kbsync sync` puts the link in its place"
        return _failed(leadership, "live", f"{place} is not a symbolic link: {advice}")
    text = checkpoints.read_live(app.home.checkpoints)
    if text is not None and Path(text).name != text:
        _failed(leadership, "live", f"{place} led to {text}, which is not the name of a checkpoint")
    return ""


def _base(app: Application, leadership: Leadership, live: Checkpoint) -> str:
    directory = app.home.base / live.base
    reason = _damage(directory, live.base, leadership)
    if not reason:
        _passed(leadership, "base", f"every byte of {directory.name[:12]}…")
        return ""
    try:
        again = app.import_base()
    except (KbsyncError, EditingError) as error:
        why = str(error)
    else:
        if again.digest == live.base and not (why := _damage(directory, live.base, leadership)):
            _repaired(leadership, "base", reason, f"imported again from {app.settings.model.path}")
            return ""
        why = why if again.digest == live.base else f"{app.settings.model.path} is a different model now"
    advice = "put the original model back at [model] path, or restore base/ from a backup"
    return _failed(leadership, "base", f"{reason}; it cannot be imported again ({why}): {advice}")


def _live(app: Application, leadership: Leadership, live: Checkpoint) -> str:
    directory = app.home.checkpoint(live.path)
    if blocked := check_link(app, leadership):
        return blocked
    reason = absent(app.home, live) or _damage(directory, live.digest, leadership)
    if reason and (left := _relinked(app, leadership, live)):
        advice = "`kbsync sync` builds its view again from the cache"
        return _failed(leadership, "live", f"{left}; {advice}")
    promotion.project(app.state, app.home)
    if reason:
        _repaired(leadership, "live", reason, f"checkpoint {live.id} has the base's files again")
    else:
        _passed(leadership, "live", f"every byte of checkpoint {live.id}")
    return ""


def _relinked(app: Application, leadership: Leadership, live: Checkpoint) -> str:
    """What is still wrong with live after the files that it shares with its base were linked again."""
    directory, base = app.home.checkpoint(live.path), app.home.base / live.base
    try:
        replaced = checkpoints.relink(base, directory)
    except EditingError as error:
        return absent(app.home, live) or str(error)
    if replaced:
        log.warning("live.relinked", files=list(replaced))
    return _damage(directory, live.digest, leadership)


def _damage(directory: Path, digest: str, leadership: Leadership) -> str:
    """Why the directory does not have that digest, or nothing if it does; reads every byte."""
    try:
        found = checkpoints.verify(directory, leadership.renew)
    except EditingError as error:
        return str(error)
    return "" if found == digest else f"{directory} has the digest {found[:12]}…, not {digest[:12]}…"


def _passed(leadership: Leadership, name: CheckName, detail: str) -> None:
    with leadership.write() as tx:
        tx.put_check(name, True, detail, ACTOR)


def _repaired(leadership: Leadership, name: CheckName, reason: str, detail: str) -> None:
    log.warning("check.repaired", check=name, reason=reason, detail=detail)
    with leadership.write() as tx:
        tx.put_check(name, False, reason, ACTOR)
        tx.put_check(name, True, detail, ACTOR)


def _failed(leadership: Leadership, name: CheckName, detail: str) -> str:
    log.error("check.failed", check=name, reason=detail)
    with leadership.write() as tx:
        tx.put_check(name, False, detail, ACTOR)
    return detail
