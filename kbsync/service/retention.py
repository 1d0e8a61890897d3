"""Retention: what is kept how long, by kind, and the deletion of what is older and not needed any more.

Nothing goes that live, the checkpoint to roll back to, a pinned one, an open run, or a fact that is wanted or waits is
made of.  Each deletion is an event.  The log and its proofs verify afterwards, and admission decides as before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import structlog

from editing.durable import remove, staging_name
from kbsync.application import Application
from kbsync.errors import BadData, KbsyncError
from kbsync.leadership import ACTOR, Leadership
from kbsync.proofs import keys
from kbsync.runs.ending import ENDS
from kbsync.runs.integrity import ADVICE
from kbsync.service import archiving
from kbsync.service.replaced import Statement, replaced_statements
from kbsync.service.residuals import residual_groups
from kbsync.service.retention_times import Times
from kbsync.service.searching import WEIGHTS
from kbsync.service.unused_files import (
    delete_bases,
    delete_logs,
    delete_read_files,
    old_logs,
    read_files,
    unused_bases,
    unused_in_cache,
)
from state import Snapshot
from state.errors import Unreachable
from state.records import Checkpoint
from state.retention import InUse

log = structlog.get_logger()

_PAGE = 500
_EVENTS = 5_000


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
    """Apply the kinds that are due (`retention_times.py`); an error of it is logged and never ends a cycle."""
    policy, times = app.settings.retention, Times.read(app.home)
    due = times.due(policy.periods(), app.now())
    if not due and not times.is_rewrite_due(policy.rewrite, app.now()):
        return []
    try:
        return apply(app, leadership, due)
    except (KbsyncError, OSError, Unreachable) as error:
        log.error("retention.failed", reason=str(error))
        return []


def apply(app: Application, leadership: Leadership, kinds: Collection[str] | None = None) -> list[Expired]:
    """Delete what is older than its period, one kind after the other; each kind that lost something has its event.

    `kinds`: by default all.  Raises BadData if the log does not verify: erasing payloads would cover the traces.
    Raises Unreachable where somebody else keeps the ledger busy while its file is to be rewritten.
    """
    now, done, times = app.now(), [], Times.read(app.home)
    for what, period in sorted(app.settings.retention.periods().items()):
        if kinds is not None and what not in kinds:
            continue
        before = now - period
        reason = _obstacle(app, what)
        count = 0 if reason else _APPLY[what](app, leadership, before)
        done.append(Expired(what, period, before, count, reason))
        if count:
            body = {"what": what, "count": count, "before": before, "period": period.total_seconds()}
            with leadership.write() as tx:
                tx.emit("retention.applied", ACTOR, body)
            log.info("retention.applied", what=what, count=count)
    times.note([one.what for one in done], now, deleted=[one.what for one in done if one.count])
    times.write(app.home)
    if times.is_rewrite_due(app.settings.retention.rewrite, now):
        app.state.compact()
        times.rewritten, times.to_rewrite = now, False
        times.write(app.home)
        log.info("ledger.rewritten")
    return done


def _obstacle(app: Application, what: str) -> str:
    """Why nothing of this kind may be deleted; empty if it may."""
    if what in ("archive", "archived"):
        try:
            return archiving.obstacle(app)
        except KbsyncError as error:
            return str(error)
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


def _observations(app: Application, before: datetime) -> Iterator[Statement]:
    with app.state.read() as tx:
        yield from replaced_statements(app, tx, _in_use(app, tx).views, before)


def _delete_observations(app: Application, leadership: Leadership, before: datetime) -> int:
    count = 0
    found = _observations(app, before)
    while page := list(islice(found, _PAGE)):
        with leadership.write() as tx:
            count += tx.let_observations_go(page)
        leadership.renew()
    return count


# Events


def _count_events(app: Application, before: datetime) -> int:
    with app.state.read() as tx:
        return sum(1 for _ in tx.expired_events(before, _in_use(app, tx)))


def _delete_payloads(app: Application, leadership: Leadership, before: datetime) -> int:
    """Page by page.  Which views are in use is read once: what comes into use meanwhile was not when it was applied."""
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


# Archived events


def _count_archivable(app: Application, before: datetime) -> int:
    with app.state.read() as tx:
        in_use = _in_use(app, tx)
    return archiving.count(app, before, in_use)


def _archive(app: Application, leadership: Leadership, before: datetime) -> int:
    with app.state.read() as tx:
        in_use = _in_use(app, tx)
    return archiving.archive(app, leadership, before, in_use)


# Probes


def _probes(app: Application, tx: Snapshot, before: datetime) -> Iterator[int]:
    return tx.facts_with_old_probes(before, _in_use(app, tx))


def _count_probes(app: Application, before: datetime) -> int:
    with app.state.read() as tx:
        return sum(1 for _ in _probes(app, tx, before))


def _delete_probes(app: Application, leadership: Leadership, before: datetime) -> int:
    count = 0
    with app.state.read() as snapshot:
        facts = _probes(app, snapshot, before)
        while page := list(islice(facts, _PAGE)):
            with leadership.write() as tx:
                count += tx.let_probes_go(page)
            leadership.renew()
    return count


# Bases, the cache, and drop folders


def _bases(app: Application, before: datetime) -> list[Path]:
    with app.state.read() as tx:
        needed = {one.base for one in _kept(app, tx)} | {run.base for run in tx.open_runs()}
        return unused_bases(app, tx, before, needed)


def _delete_bases(app: Application, leadership: Leadership, before: datetime) -> int:
    found = _bases(app, before)
    delete_bases(app.home, found)
    return len(found)


def _delete_cached(app: Application, leadership: Leadership, before: datetime) -> int:
    found = unused_in_cache(app.home, app.now() - before)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


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


# Checkpoints


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
        frozenset(views),
        frozenset({one.run for one in kept} | judged | {run.id for run in open_runs}),
        checkpoints,
    )


_COUNT: dict[str, Callable[[Application, datetime], int]] = {
    "archive": _count_archivable,
    "archived": lambda app, before: len(archiving.old_files(app, before)),
    "observations": lambda app, before: sum(1 for _ in _observations(app, before)),
    "events": _count_events,
    "reports": lambda app, before: len(_runs(app, before)),
    "checkpoints": _count_checkpoints,
    "logs": lambda app, before: len(old_logs(app, before)),
    "probes": _count_probes,
    "bases": lambda app, before: len(_bases(app, before)),
    "cache": lambda app, before: len(unused_in_cache(app.home, app.now() - before)),
    "dropped": lambda app, before: sum(map(len, read_files(app, before).values())),
}
_APPLY: dict[str, Callable[[Application, Leadership, datetime], int]] = {
    "archive": _archive,
    "archived": archiving.delete_files,
    "observations": _delete_observations,
    "events": _delete_payloads,
    "reports": _delete_runs,
    "checkpoints": _delete_checkpoints,
    "logs": lambda app, leadership, before: delete_logs(app, before),
    "probes": _delete_probes,
    "bases": _delete_bases,
    "cache": _delete_cached,
    "dropped": lambda app, leadership, before: delete_read_files(read_files(app, before)),
}
