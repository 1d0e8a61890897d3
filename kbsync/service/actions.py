"""Actions that operators can request from the leader; each is idempotent, so that it can be restarted.

An action gets an `Errand` and returns the output of its command, as plain JSON values.  The exceptions that it
raises on purpose are refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from connectors.observations import Rewindable
from editing.progress import TimedProgress
from kbsync.application import Application
from kbsync.approvals import check
from kbsync.errors import UsageError
from kbsync.intake import leavers
from kbsync.intake import retemplate as retemplating
from kbsync.leadership import Leadership
from kbsync.runs import promotion, review
from kbsync.runs.lifecycle import Lifecycle
from kbsync.runs.planning import NothingToDo, Plan
from kbsync.runs.questions import base_knowledge, forecast
from kbsync.runs.returning import returning
from kbsync.runs.starting import Occasion, pending, start
from kbsync.service import forgetting
from kbsync.service.cycle import CycleReport, Reading, cycle, rebuild, workers
from state import Transaction
from state.records import Request

REPORTS = TypeAdapter(CycleReport)


@dataclass(frozen=True, slots=True)
class Errand:
    """One request that is being carried out."""

    app: Application
    leadership: Leadership
    request: Request
    arguments: Mapping[str, Any]
    progress: TimedProgress


@dataclass(frozen=True, slots=True)
class Action:
    carry_out: Callable[[Errand], Mapping[str, Any]]
    urgency: int = 0
    """A request interrupts scheduled work and less urgent requests, unless its urgency is 0."""


def sync(errand: Errand) -> Mapping[str, Any]:
    """One cycle that an operator asked for."""
    report = cycle(
        errand.app,
        errand.leadership,
        trigger="kbsync sync",
        asked=True,
        reading=Reading(bootstrap=bool(errand.arguments["bootstrap"])),
        progress=errand.progress,
    )
    return _plain(report)


def rebuild_again(errand: Errand) -> Mapping[str, Any]:
    """Build what is wanted again, with the current settings."""
    return _plain(rebuild(errand.app, errand.leadership, progress=errand.progress))


def _plain(report: CycleReport) -> Mapping[str, Any]:
    # The individual decisions are in the ledger; the answer contains only the counts.
    counts = {name: replace(one, decisions=[]) for name, one in report.intake.items()}
    answer: dict[str, Any] = REPORTS.dump_python(replace(report, intake=counts), mode="json")
    return answer


def dry_run(errand: Errand) -> Mapping[str, Any]:
    """What the next run would build, as ids of facts, and what that would cost."""
    app = errand.app
    with workers(app, errand.leadership) as worker:
        planned = pending(app, errand.leadership, worker, errand.progress).plan(app, asked=True)
        if isinstance(planned, NothingToDo):
            return {"nothing": planned.reason, "waiting": [fact.id for fact in planned.waiting]}
        expected = forecast(app, worker, planned, errand.progress)
    numbers = {
        name: [fact.id for fact in getattr(planned, name)] for name in ("facts", "new", "removed", "waiting")
    }
    return {
        **numbers,
        "known": sorted(planned.known),
        "preflight": asdict(expected) if expected is not None else None,
    }


def survey(errand: Errand) -> Mapping[str, Any]:
    """Ask the base about every wanted fact that it was not asked about yet; its answers are kept in the ledger."""
    app = errand.app
    with app.state.read() as tx:
        wanted = tx.wanted()
    with workers(app, errand.leadership) as worker:
        found = base_knowledge(app, errand.leadership, worker, wanted, errand.progress)
    return {"asked": len(wanted), "known": sum(found.known.values()), "failures": len(found.failures)}


def resolve_rollback(tx: Transaction, target: int | None) -> dict[str, Any]:
    """Which checkpoint is left, and for which: fixed when the rollback is requested, so that it cannot happen twice.

    Raises UsageError if there is nothing to go back to.
    """
    left, chosen = promotion.rollback_target(tx, target)
    return {"left": left.id, "to": chosen.id}


def rollback(errand: Errand) -> Mapping[str, Any]:
    """Go back to a checkpoint that was live before.

    If that states what was withdrawn since, a checkpoint without it is built and takes its place.
    """
    app, left, to = errand.app, int(errand.arguments["left"]), int(errand.arguments["to"])
    trigger = f"rollback (request {errand.request.id})"
    with app.state.read() as tx:
        live = tx.live()
        if live is None or not (live.id in (left, to) or tx.run(live.run).trigger == trigger):
            raise UsageError(
                f"checkpoint {live.id if live else 'none'} is live by now, not {left} as when the rollback was "
                "asked for",
                "look at `kbsync checkpoints` and ask again",
            )
        if live.id == left:
            check(tx, review.of_rollback(live, tx.checkpoint(to)), app.settings.review.approvals)
        what = returning(tx, tx.checkpoint(left), tx.checkpoint(to))
    answer: dict[str, Any] = {
        "left": left,
        "to": to,
        "back": [fact.id for fact in what.back],
        "out": [fact.id for fact in what.out],
        "run": None,
        "nothing": "",
    }
    if live.id == left:
        _, now = promotion.rollback(
            app,
            errand.leadership,
            target=to,
            reason=errand.request.reason,
            actor=errand.request.actor,
        )
        if now.id == left:
            answer |= _built_instead(errand, trigger)
    promotion.project(app.state, app.home)
    with app.state.read() as tx:
        live = tx.live()
    return {**answer, "live": live.id if live else None}


def _built_instead(errand: Errand, trigger: str) -> dict[str, Any]:
    """Build what is wanted after a rollback whose checkpoint must not go live; its run, or why there is none."""
    app, leadership = errand.app, errand.leadership
    with workers(app, leadership) as worker:
        started = start(app, leadership, worker, Occasion(trigger, asked=True), errand.progress)
        if isinstance(started, str):
            return {"nothing": started}
        run = Lifecycle(app, leadership, worker, errand.progress, asked=True).drive(started.run)
    return {"run": {"run": run.id, "state": run.state, "reason": run.reason}}


def approve_run(errand: Errand) -> Mapping[str, Any]:
    """Promote a candidate that waits for review."""
    request = errand.request
    done = review.approve_run(
        errand.app,
        errand.leadership,
        int(errand.arguments["run"]),
        request.reason,
        request.actor,
        again=request.attempts > 1,
        digest=errand.arguments.get("digest"),
    )
    return {"run": done.id, "state": done.state, "reason": done.reason}


def forget_source(errand: Errand) -> Mapping[str, Any]:
    """Remove what a source stated; see `leavers.forget`."""
    app, source = errand.app, str(errand.arguments["source"])
    namespace = errand.arguments["namespace"]
    check_left(app, source, namespace)
    intake = app.intake(errand.leadership)
    return asdict(leavers.forget(intake, source, namespace, errand.request.reason, errand.request.actor))


def forget_subject(errand: Errand) -> Mapping[str, Any]:
    """Erase a subject from the ledger, the log and the home; see `forgetting`."""
    return forgetting.carry_out(errand.app, errand.leadership, errand.request, errand.arguments)


def rename_source(errand: Errand) -> Mapping[str, Any]:
    """Rename a source in everything that it stated; see `leavers.rename`."""
    app, old, new = errand.app, str(errand.arguments["source"]), str(errand.arguments["to"])
    check_left(app, old)
    check_configured(app, new)
    intake = app.intake(errand.leadership)
    return asdict(leavers.rename(intake, old, new, errand.request.reason, errand.request.actor))


def rewind_source(errand: Errand) -> Mapping[str, Any]:
    """Have a source read again since an instant, or from its beginning; the next poll does it."""
    app, source = errand.app, str(errand.arguments["source"])
    to = errand.arguments["to"] and datetime.fromisoformat(errand.arguments["to"])
    check_configured(app, source)
    with app.state.read() as tx:
        cursor = tx.cursor(source)
    if cursor is None:
        return {"source": source, "to": None}  # it was never read, so it is read from its beginning anyway
    back = rewindable(app, source).rewind(cursor, to)
    with app.write(errand.leadership) as tx:
        tx.rewind_source(source, back, to, errand.request.reason, errand.request.actor)
    return {"source": source, "to": errand.arguments["to"]}


def rewindable(app: Application, source: str) -> Rewindable:
    """The connector of a configured source.  Raises UsageError if it cannot be read again by a cursor."""
    connector = app.sources[source].connector()
    if not isinstance(connector, Rewindable):
        raise UsageError(
            f"sources of kind {app.settings.sources[source].get('kind')} cannot be rewound",
            "its connector has no way back; where files are dropped, drop them again",
        )
    return connector


def retemplate(errand: Errand) -> Mapping[str, Any]:
    """Move wanted facts to the current templates of their relations; with `rehearse`, only estimate the cost."""
    app, relation = errand.app, errand.arguments["relation"]
    if not errand.arguments["rehearse"]:
        intake = app.intake(errand.leadership)
        intake.follow_catalogue()
        return {
            "moved": retemplating.retemplate(intake, relation, errand.request.reason, errand.request.actor)
        }
    with app.state.read() as tx:
        pairs = retemplating.moved(tx, app.catalogue, relation, errand.request.reason)
        new = {old.id: replace(old, template=new.template) for old, new in pairs}
        view = tuple(new.get(fact.id, fact) for fact in tx.wanted())
    with workers(app, errand.leadership) as worker:
        planned = Plan(view, tuple(new.values()), (), (), frozenset())
        expected = forecast(app, worker, planned, errand.progress)
    return {"moved": len(new), "preflight": asdict(expected) if expected is not None else None}


def check_left(app: Application, source: str, namespace: str | None = None) -> None:
    """Raises UsageError for a source that is still configured, unless only a namespace of it is meant."""
    if source in app.settings.sources and namespace is None:
        raise UsageError(
            f"{source} is still a source in the settings in force",
            f"take [sources.{source}] out of the settings and restart the daemon first",
        )


def check_configured(app: Application, source: str) -> None:
    """Raises UsageError for a name that is not a source in the settings."""
    if source not in app.settings.sources:
        raise UsageError(
            f"{source} is not a source in the settings in force",
            f"write [sources.{source}] into the settings and restart the daemon first",
        )


ACTIONS: Mapping[str, Action] = {
    "rollback": Action(rollback, urgency=2),
    "approve-run": Action(approve_run, urgency=1),
    "sync": Action(sync),
    "rebuild": Action(rebuild_again),
    "dry-run": Action(dry_run),
    "survey": Action(survey),
    "retemplate": Action(retemplate),
    "forget-source": Action(forget_source),
    "forget-subject": Action(forget_subject, urgency=1),
    "rename-source": Action(rename_source),
    "rewind-source": Action(rewind_source),
}
