"""One sync cycle: finish what is open, pull and admit, plan, and take the new run to its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from connectors.errors import ConnectorError
from editing.durable import sweep
from editing.spec import BuildReport
from editing.storage import checkpoints
from kbsync.application import Application
from kbsync.deployment.outbox import Outbox
from kbsync.executor import Progress, Stopping, Worker, WorkerFailed, silent
from kbsync.intake.pull import Report
from kbsync.leadership import Leadership
from kbsync.runs import planning, probes, promotion
from kbsync.runs.lifecycle import ACTOR, ENDS, Lifecycle
from kbsync.runs.rollout import finish
from kbsync.runs.specs import ask_spec
from state.records import Fact, Run

log = structlog.get_logger()

RETRY_AFTER = timedelta(hours=1)
"""A view whose last run failed is tried again this much later, doubled with every failure."""


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one cycle did, for the command line and the daemon's log."""

    runs: tuple[Run, ...] = ()
    """Runs that this cycle carried on or started, as they are now."""
    intake: dict[str, Report] = field(default_factory=dict)
    """By source; `due` is what was held until now."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Sources that could not be read, with the reason; their cursors did not move."""
    nothing: str = ""
    """Why no run was started, if none was."""


def cycle(
    app: Application,
    leadership: Leadership,
    *,
    trigger: str,
    asked: bool = True,
    bootstrap: bool = False,
    worker: Worker | None = None,
    progress: Progress = silent,
) -> CycleReport:
    """Run one cycle to its end.  Raises Stopping (the run is resumed by the next cycle).

    `asked` says that a person wants a run now; the daemon's schedule obeys the thresholds of [plan].
    `worker` is one that the caller keeps for several cycles; by default a cycle has its own, which
    starts only if there is something to build.
    """
    clean_up(app)
    with nullcontext(worker) if worker else workers(app, leadership) as worker:
        lifecycle = Lifecycle(app, leadership, worker, progress, asked=asked)
        with app.state.read() as tx:
            unfinished = tx.open_runs()
        runs = [lifecycle.drive(run) for run in unfinished]
        if not any(run.state == "promoted" for run in runs):
            tell_servers(app, leadership, asked=asked and not runs)
        reports, unavailable = pull(app, leadership, bootstrap=bootstrap, progress=progress)
        leadership.renew()
        nothing = _waits(runs)
        if not nothing:
            started = _start(app, leadership, worker, trigger=trigger, asked=asked, progress=progress)
            if isinstance(started, str):
                nothing = started
            else:
                runs.append(lifecycle.drive(started))
    clean_up(app)
    return CycleReport(tuple(runs), reports, unavailable, nothing)


def _waits(runs: list[Run]) -> str:
    """Why no new run is started while one of these is not at its end."""
    states = {run.state for run in runs} - ENDS
    if "promoted" in states:
        return "a run waits for its deploy hooks (`kbsync deployments`)"
    return "a run waits for review" if states else ""


def workers(app: Application, leadership: Leadership) -> AbstractContextManager[Worker]:
    """A worker for as long as the block lasts; every sign of life from it renews the lease."""
    return app.executor(alive=leadership.renew).worker(app.home.runs / "worker.log")


def clean_up(app: Application) -> None:
    """Make `live` follow the database and remove what no root holds; done at every start.

    Retired checkpoints beyond `state.keep` go, unless pinned; so does what killed writers left unfinished.
    """
    promotion.project(app.state, app.home)
    with app.state.read() as tx:
        roots = tx.roots()
        retired = sorted(
            (c for c in tx.checkpoints(status="retired") if c.collected is None),
            key=lambda c: c.promoted or c.created,
            reverse=True,
        )
        open_runs = {run.id: run for run in tx.open_runs()}
    keep = {c.path for c in roots.checkpoints} | {c.path for c in retired[: app.settings.state.keep]}
    # The directory of an open run's round has its name before it has its row.
    keep |= {f"{run.id}-{run.round}" for run in open_runs.values()}
    removed = [*checkpoints.collect_garbage(app.home.checkpoints, keep), *_sweep(app, open_runs)]
    gone = [c.id for c in retired[app.settings.state.keep :] if c.path not in keep]
    if gone:
        with app.state.write() as tx:
            for checkpoint in gone:
                tx.collected(checkpoint)
    if removed:
        log.info("garbage.removed", names=len(removed))


def _sweep(app: Application, open_runs: Iterable[int]) -> Iterator[str]:
    """Unfinished files and directories outside the checkpoints; only the leader writes there."""
    for place in (app.home.root, app.home.base):
        yield from sweep(place)
    for directory in (app.home.cache, *(app.home.run(run) for run in open_runs)):
        for child in directory.iterdir() if directory.is_dir() else ():
            yield from sweep(child)
    yield from sweep(app.home.runs / "ask")


def tell_servers(app: Application, leadership: Leadership, *, asked: bool = False) -> tuple[Run, ...]:
    """Go on with promoted runs, and see that every server still serves what is live; the runs that ended.

    What no open run looks after: rollbacks, servers that forgot, hooks that failed for good.
    """
    promotion.project(app.state, app.home)
    with app.state.read() as tx:
        waiting = tx.runs(state="promoted")
    runs = [finish(app, leadership, run, asked=asked) for run in waiting]
    if not runs:
        Outbox(app, leadership).work(asked=asked)
    return tuple(run for run in runs if run.state in ENDS)


def pull(
    app: Application,
    leadership: Leadership | None = None,
    *,
    bootstrap: bool = False,
    progress: Progress = silent,
) -> tuple[dict[str, Report], dict[str, str]]:
    """Read and admit every source once; a source that fails keeps its cursor and does not stop the others.

    Raises Stopping between two steps of a source; the next pull goes on from its cursor.
    """
    intake = app.intake(_alive(app, leadership))
    reports: dict[str, Report] = {}
    unavailable: dict[str, str] = {}
    for number, (name, connector) in enumerate(app.connectors.items()):
        progress("pull", number, len(app.connectors), None)
        try:
            reports[name] = intake.pull(connector, bootstrap=bootstrap)
        except ConnectorError as error:
            log.warning("source.unavailable", source=name, reason=str(error))
            unavailable[name] = str(error)
    reports["due"] = intake.release_due()
    progress("pull", len(app.connectors), len(app.connectors), None)
    return reports, unavailable


def _alive(app: Application, leadership: Leadership | None) -> Callable[[], None]:
    """Called while sources are read: keeps the lease, feeds the watchdog, hears SIGTERM."""

    def alive() -> None:
        if leadership is not None:
            leadership.renew()
        if app.stopping.is_set():
            raise Stopping(
                "asked to stop while sources were read", "the next cycle goes on from their cursors"
            )

    return alive


def reconcile(
    app: Application, leadership: Leadership | None = None, *, sample: int | None = None
) -> dict[str, Report]:
    """Re-read watched slots, all or a random sample: finds what polling missed, and removals.

    A source that cannot be read now does not stop the others; it is read again at the next time.
    """
    intake = app.intake(_alive(app, leadership))
    seed = int(app.now().timestamp())
    reports: dict[str, Report] = {}
    for name, connector in app.connectors.items():
        try:
            if sample is None:
                reports[name] = intake.reconcile(connector)
            else:
                reports[name] = intake.audit(connector, sample, seed)
        except ConnectorError as error:
            log.warning("source.unavailable", source=name, reason=str(error))
            continue
        if reports[name].new:
            log.warning("reconcile.found", source=name, slots=reports[name].new, sample=sample)
    return reports


def plan(
    app: Application, worker: Worker, *, asked: bool, progress: Progress = silent
) -> planning.Plan | planning.NothingToDo:
    """Decide what to build, after asking the base about facts it was never asked about."""
    with app.state.read() as tx:
        wanted = tx.wanted()
        live = tx.live()
        live_facts = tx.view_facts(live.view) if live else None
    known = base_knowledge(app, worker, wanted, progress)
    return planning.decide(wanted, live_facts, known, app.settings.plan, app.now(), asked=asked)


def fetch_probes(
    app: Application, facts: Iterable[Fact], known: Collection[int] = (), progress: Progress = silent
) -> None:
    """Ask the sources, once for each new fact, what it will be judged by.

    A source that cannot be asked now leaves its facts to the gates that need no probe; it is asked again
    when they are built again.
    """

    def told(done: int, total: int) -> None:
        progress("probes", done, total, None)

    try:
        probes.gather(app.state, app.connectors, app.catalogue, app.settings.policy, facts, told, known)
    except ConnectorError as error:
        log.warning("probes.unavailable", reason=str(error))


def base_knowledge(
    app: Application, worker: Worker, facts: tuple[Fact, ...], progress: Progress = silent
) -> dict[int, bool]:
    """Which of `facts` the base states unedited; asks the worker only what the ledger does not know."""
    ids = [fact.id for fact in facts]
    with app.state.read() as tx:
        answers = tx.base_answers(app.base.digest, ids)
    unasked = [fact for fact in facts if fact.id not in answers]
    if unasked:
        report = _ask(app, worker, unasked, progress)
        fresh = {int(fact.id): (fact.known, fact.base_answer) for fact in report.facts}
        with app.state.write() as tx:
            tx.put_base_answers(app.base.digest, fresh)
        answers = {**answers, **fresh}
    return {fact: known for fact, (known, _) in answers.items()}


def _ask(app: Application, worker: Worker, facts: list[Fact], progress: Progress) -> BuildReport:
    directory = app.home.runs / "ask"
    directory.mkdir(parents=True, exist_ok=True)
    spec_file = directory / "spec.json"
    ask_spec(app, facts).write(spec_file)
    for left in reversed(range(app.settings.executor.attempts)):
        try:
            return worker.execute(spec_file, progress)
        except WorkerFailed as failure:
            if not (failure.retry and left):
                raise
            log.warning("worker.retry", kind=failure.kind, reason=str(failure), left=left)
    raise AssertionError("at least one attempt is made")


def _start(
    app: Application,
    leadership: Leadership,
    worker: Worker,
    *,
    trigger: str,
    asked: bool,
    progress: Progress,
) -> Run | str:
    """A new run, or why there is none."""
    planned = plan(app, worker, asked=asked, progress=progress)
    if isinstance(planned, planning.NothingToDo):
        return planned.reason
    fetch_probes(app, planned.new, planned.known, progress)
    with leadership.write() as tx:
        view = tx.create_view(planned.facts)
        live = tx.live()
        if live is not None and (live.view, live.base) == (view.digest, app.base.digest):
            return "live already is this view"
        blocked = next((block for block in tx.blocked_views() if block.view == view.digest), None)
        if blocked is not None:
            return (
                f"this view was rolled back ({blocked.reason}); `kbsync checkpoints release` allows it again"
            )
        if wait := _backing_off(app, [r for r in tx.runs(limit=20) if r.view == view.digest], asked):
            return wait
        run = tx.create_run(view.digest, app.base.digest, trigger)
        tx.emit(
            "run.scope",
            ACTOR,
            {
                "view": view.digest,
                "facts": len(planned.facts),
                "known": len(planned.known),
                "new": [fact.id for fact in planned.new],
                "removed": [fact.id for fact in planned.removed],
                "waiting": len(planned.waiting),
            },
            run=run.id,
        )
    return run


def _backing_off(app: Application, earlier: list[Run], asked: bool) -> str:
    """Why a view whose last runs ended badly is not tried again yet; an operator's request always is."""
    bad = [run for run in earlier if run.state in ("failed", "rejected")]
    if not bad or asked:
        return ""
    last = max(bad, key=lambda run: run.id)
    until = last.updated + RETRY_AFTER * 2 ** min(len(bad) - 1, 6)
    if app.now() >= until:
        return ""
    return (
        f"run {last.id} of this view ended {last.state} ({last.reason}); next try after {until:%F %H:%M} UTC"
    )
