"""Retention: what is kept how long, by kind, and the deletion of what is older and not needed any more.

Nothing goes that live, the checkpoint to roll back to, a pinned one, an open run, or a fact that is wanted or waits is
made of.  Each deletion is an event.  The log and its proofs verify afterwards, and admission decides as before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import structlog

from editing.durable import remove, staging_name, write_file
from kbsync.admission.timeline import expendable
from kbsync.application import Application
from kbsync.errors import BadData, KbsyncError
from kbsync.home import PRIVATE
from kbsync.intake.admit import parsed
from kbsync.leadership import ACTOR, Leadership
from kbsync.proofs import keys
from kbsync.runs.ending import ENDS
from kbsync.runs.integrity import ADVICE
from kbsync.service.residuals import residual_groups
from kbsync.service.searching import WEIGHTS
from state import Snapshot
from state.records import Checkpoint, SlotKey
from state.retention import InUse
from state.transaction import chunks

log = structlog.get_logger()

EVERY = timedelta(days=1)
"""How often the policy is applied."""
_PAGE = 500
_EVENTS = 5_000
_ROTATED = "worker-"


@dataclass(frozen=True, slots=True)
class Expired:
    """What is older than its period allows, of one kind."""

    what: str
    period: timedelta
    before: datetime
    count: int
    reason: str = ""
    """Why nothing is deleted although something could be."""


def preview(app: Application) -> list[Expired]:
    """What applying the policy now would delete; nothing is changed."""
    now = app.now()
    found = []
    for what, period in sorted(app.settings.retention.periods().items()):
        before = now - period
        found.append(Expired(what, period, before, _COUNT[what](app, before), _obstacle(app, what)))
    return found


def apply_if_due(app: Application, leadership: Leadership) -> list[Expired]:
    """Apply the policy if that was not done for a day; an error of it is logged and never ends a cycle."""
    if not app.settings.retention.periods() or not _is_due(app):
        return []
    try:
        return apply(app, leadership)
    except (KbsyncError, OSError) as error:
        log.error("retention.failed", reason=str(error))
        return []


def apply(app: Application, leadership: Leadership) -> list[Expired]:
    """Delete what is older than its period, one kind after the other; each kind that lost something has its event.

    Raises BadData if the log does not verify: erasing payloads would cover the traces.
    """
    now, done = app.now(), []
    periods = sorted(app.settings.retention.periods().items())  # checkpoints first: others hang on them
    for what, period in periods:
        before = now - period
        reason = _obstacle(app, what)
        count = 0 if reason else _APPLY[what](app, leadership, before)
        done.append(Expired(what, period, before, count, reason))
        if count:
            body = {"what": what, "count": count, "before": before, "period": period.total_seconds()}
            with leadership.write() as tx:
                tx.emit("retention.applied", ACTOR, body)
            log.info("retention.applied", what=what, count=count)
    write_file(app.home.retention, json.dumps({"applied": now.isoformat()}).encode(), mode=PRIVATE)
    return done


def _is_due(app: Application) -> bool:
    try:
        last = datetime.fromisoformat(json.loads(app.home.retention.read_bytes())["applied"])
        return not timedelta() <= app.now() - last < EVERY  # later than now: the clock was ahead
    except (OSError, ValueError, LookupError, TypeError):
        return True


def _obstacle(app: Application, what: str) -> str:
    """Why nothing of this kind may be deleted; empty if it may."""
    if what != "events":
        return ""
    lineage = app.state.audit.lineage()
    if not lineage.keys:
        return ""
    try:
        signs = keys.signer(app) is not None
    except KbsyncError as error:
        return str(error)
    if signs:
        return ""
    return "every key of the log is revoked, and an erasure has to be signed: `kbsync keys create`"


# Observations


def _observations(app: Application, before: datetime) -> Iterator[tuple[str, SlotKey, int]]:
    """Source, slot and revision of what was replaced before then and nothing needs."""
    now, policy = app.now(), app.settings.policy
    with app.state.read() as tx:
        slots: dict[SlotKey, set[str]] = {}
        for source, slot in tx.replaced_observations(before):
            slots.setdefault(slot, set()).add(source)
        in_use = _in_use(app, tx).facts
    for page in chunks(slots, _PAGE):
        with app.state.read() as tx:
            histories, facts = tx.histories(page), tx.facts_of(page)
        for slot in page:
            needed = {(fact.source, fact.revision) for fact in facts.get(slot, ()) if fact.id in in_use}
            for source in sorted(slots[slot]):
                seen = [parsed(one) for one in histories[slot] if one.source == source]
                window = policy.rules(source, slot[1]).flip_window
                revisions = {revision for name, revision in needed if name == source}
                old = expendable(seen, now, window, min(before, now - window), revisions)
                yield from ((source, slot, one.revision) for one in old)


def _delete_observations(app: Application, leadership: Leadership, before: datetime) -> int:
    count = 0
    for page in chunks(_observations(app, before), _PAGE):
        with leadership.write() as tx:
            count += tx.let_observations_go(page)
        leadership.renew()
    return count


# Events


def _count_events(app: Application, before: datetime) -> int:
    with app.state.read() as tx:
        return sum(1 for _ in tx.expired_events(before, _in_use(app, tx)))


def _delete_payloads(app: Application, leadership: Leadership, before: datetime) -> int:
    """Page by page.  What is in use is read once: what comes into use meanwhile was not when the policy was applied."""
    signer = keys.signer(app)
    with app.state.read() as tx:
        in_use = _in_use(app, tx)
        if next(tx.expired_events(before, in_use), None) is None:
            return 0
    found = app.state.audit.verify_tables()
    if not found.ok:
        raise BadData(f"no payload was deleted: {found.reason}", ADVICE[found.failed or "chain"])
    count = 0
    after = 0
    while True:
        with leadership.write() as tx:
            page = list(islice(tx.expired_events(before, in_use, after), _EVENTS))
            if not page:
                return count
            count += tx.let_events_go(page, ACTOR, None if signer is None else signer.signature)
        after = page[-1]["seq"]
        leadership.renew()


# Directories of runs


def _runs(app: Application, before: datetime) -> list[Path]:
    """The directories of runs that ended before then and built nothing that is kept."""
    with app.state.read() as tx:
        ended = {run.id for run in tx.runs() if run.state in ENDS and run.updated < before}
        kept = _in_use(app, tx).runs
    return [path for run in sorted(ended - kept) if (path := app.home.run(run)).is_dir()]


def _delete_runs(app: Application, leadership: Leadership, before: datetime) -> int:
    """Also residuals that no report names any more: nobody could tell whose they are when a subject is forgotten."""
    directories = _runs(app, before)
    named = residual_groups(app.home)
    gone = {group for (_, place), group in named.items() if Path(place).parent in directories}
    for directory in directories:
        shutil.rmtree(directory)
        leadership.renew()
    for group in gone - set(residual_groups(app.home).values()):
        (app.home.deltas / f"{group}{WEIGHTS}").unlink(missing_ok=True)
    return len(directories)


# Checkpoints and logs


def _count_checkpoints(app: Application, before: datetime) -> int:
    with app.state.read() as tx:
        return len(_old_checkpoints(tx, before))


def _old_checkpoints(tx: Snapshot, before: datetime) -> list[Checkpoint]:
    roots = {one.id for one in tx.roots().checkpoints}
    retired = (one for one in tx.checkpoints(status="retired") if one.collected is None)
    return [
        one for one in retired if one.id not in roots and one.promoted is not None and one.promoted < before
    ]


def _delete_checkpoints(app: Application, leadership: Leadership, before: datetime) -> int:
    with app.state.read() as tx:
        old = _old_checkpoints(tx, before)
    for one in old:
        with leadership.write() as tx:
            tx.collected(one.id)  # if the process dies now, the next start removes the directory
        directory = app.home.checkpoint(one.path)
        if directory.exists():
            doomed = staging_name(directory)
            directory.rename(doomed)
            remove(doomed)
    return len(old)


def _logs(app: Application, before: datetime) -> list[Path]:
    files = app.home.runs.glob(f"{_ROTATED}*.log")
    return sorted(file for file in files if file.stat().st_mtime < before.timestamp())


def _delete_logs(app: Application, leadership: Leadership, before: datetime) -> int:
    """Delete old files, and begin a new one once a day: a worker that runs goes on writing to the file it has open."""
    old = _logs(app, before)
    for file in old:
        file.unlink()
    current = app.home.worker_log
    if current.is_file() and current.stat().st_size:
        rotated = app.home.runs / f"{_ROTATED}{app.now():%Y%m%dT%H%M%S}.log"
        current.replace(rotated)
        os.utime(rotated, (app.now().timestamp(), app.now().timestamp()))
    return len(old)


def _kept(app: Application, tx: Snapshot) -> list[Checkpoint]:
    """Checkpoints that are there, and which the policy does not delete."""
    period = app.settings.retention.checkpoints
    gone = {one.id for one in _old_checkpoints(tx, app.now() - period)} if period is not None else set()
    there = (one for one in tx.checkpoints() if one.collected is None and one.status != "rejected")
    return [one for one in there if one.id not in gone]


def _in_use(app: Application, tx: Snapshot) -> InUse:
    """What something kept was built from, or is being built from."""
    kept, open_runs = _kept(app, tx), tx.open_runs()
    checkpoints = frozenset(one.id for one in kept)
    judged = {run.id for run in tx.runs() if run.checkpoint in checkpoints}
    views = {one.view for one in kept} | {run.view for run in open_runs}
    return InUse(
        tx.facts_in_use(views),
        frozenset({one.run for one in kept} | judged | {run.id for run in open_runs}),
        checkpoints,
    )


_COUNT: dict[str, Callable[[Application, datetime], int]] = {
    "observations": lambda app, before: sum(1 for _ in _observations(app, before)),
    "events": _count_events,
    "reports": lambda app, before: len(_runs(app, before)),
    "checkpoints": _count_checkpoints,
    "logs": lambda app, before: len(_logs(app, before)),
}
_APPLY: dict[str, Callable[[Application, Leadership, datetime], int]] = {
    "observations": _delete_observations,
    "events": _delete_payloads,
    "reports": _delete_runs,
    "checkpoints": _delete_checkpoints,
    "logs": _delete_logs,
}
