"""`quarantine show`: one fact with all the evidence for and against it."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table

if TYPE_CHECKING:
    from kbsync.queries.quarantine import Dossier
    from state.records import Fact


def show(
    context: typer.Context,
    fact: Annotated[int, typer.Argument(help="Its number.")],
    json: Json = False,
) -> None:
    """Show all evidence for and against one fact, whatever its status.

    What the base, live and the candidate answered to its prompt; every question that judged it, with what
    was expected, what was answered, and what the ledger knows of the neighbour that it asks about; other
    facts of its slot and of its prompt; what each source states now; its history.
    """
    from kbsync.queries.quarantine import dossier

    with globals_of(context).ledger() as app:
        found = dossier(app, fact)
    if json:
        print_json(found)
    else:
        _show(found)


def _show(found: Dossier) -> None:
    fact, answers = found.fact, found.answers
    judged = ""
    if found.gate is not None:
        judged = (
            f"{found.gate}, run {found.run}, round {found.round}, {found.shortfall:.3f} below the threshold"
        )
    print_table(
        f"fact {fact.id}",
        ("what", "how"),
        [
            ("subject", f"{fact.subject_label} ({fact.subject})"),
            ("relation", fact.relation),
            ("object", _object(fact)),
            ("status", f"{fact.status} since {fact.updated:%Y-%m-%d %H:%M}"),
            ("reason", f"{fact.reason_code}: {fact.reason}" if fact.reason_code else fact.reason),
            ("decision", f"{fact.decision}, {fact.decided:%Y-%m-%d %H:%M}" if fact.decided else "none"),
            ("source", f"{fact.source}, revision {fact.revision}, statement {fact.statement}"),
            ("gate", judged),
            ("judged under", "other settings than the current ones" if found.stale else ""),
            ("prompt", fact.prompt),
            ("the base answers", answers.get("base")),
            ("live answers", answers.get("live")),
            ("the candidate answered", answers.get("candidate")),
        ],
    )
    print_table(
        "what judges it",
        ("kind", "prompt", "expected", "answered", "passed", "the ledger on what it asks"),
        ((q.kind, q.prompt, q.expected, q.answer, q.passed, _known_of(q.about)) for q in found.questions),
        empty="no question is stored: they are fetched when it is built",
    )
    print_table(
        "facts it has to agree with",
        ("id", "why", "subject", "object", "status", "reason"),
        (
            (r.fact.id, r.why, r.fact.subject_label, r.fact.target, r.fact.status, r.fact.reason)
            for r in found.rivals
        ),
    )
    print_table(
        "what the sources state of its slot",
        ("source", "revision", "read", "statements"),
        ((s.source, s.revision, s.observed, s.statements) for s in found.stated),
    )
    print_table(
        "its history, newest first",
        ("no", "at", "what", "actor", "why"),
        ((e.seq, e.at, e.kind, e.actor, jsons.loads(e.body).get("reason")) for e in found.history),
    )


def _object(fact: Fact) -> str:
    """The object's label and id; a literal has only its text."""
    from kbsync.admission.verdicts import in_words

    name = in_words(fact.object)
    return fact.target if name == fact.target else f"{fact.target} ({name})"


def _known_of(fact: Fact | None) -> str:
    return "" if fact is None else f"fact {fact.id}: {fact.status} ({fact.target})"
