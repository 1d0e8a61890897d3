"""Move wanted facts to their relation's current template.

A fact is pinned to the prompt that it was created with, so a corrected template does not change wanted
facts.  Moving a fact creates a new row, whose residual has to be optimised; it is therefore done only on
request, after its cost has been shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from editing.requests import prompt_key, render
from kbsync.admission.codes import because
from kbsync.admission.effects import renewed
from kbsync.catalogue.relations import Catalogue
from kbsync.intake.pull import PAGE, Intake
from state.ledger import Snapshot, Transaction
from state.records import Fact, Move, NewFact


@dataclass(frozen=True, slots=True)
class OutdatedTemplate:
    """Wanted facts of one relation that are pinned to a template it no longer uses."""

    relation: str
    template: str
    """The template that they are pinned to."""
    now: str
    facts: int


def outdated(tx: Snapshot, catalogue: Catalogue, relation: str | None = None) -> list[OutdatedTemplate]:
    """The facts that could be moved, of one relation or of all relations in the catalogue."""
    return [
        OutdatedTemplate(name, template, catalogue[name].template, count)
        for (name, template), count in sorted(tx.count_templates().items())
        if name in catalogue and template != catalogue[name].template and relation in (None, name)
    ]


def moved(
    tx: Snapshot, catalogue: Catalogue, relation: str | None, why: str, limit: int | None = None
) -> list[tuple[Fact, NewFact]]:
    """At most `limit` facts to be moved, each with its new row."""
    found: list[tuple[Fact, NewFact]] = []
    for name in sorted({one.relation for one in outdated(tx, catalogue, relation)}):
        left = None if limit is None else limit - len(found)
        template = catalogue[name].template
        found += [(fact, _in(fact, template, why)) for fact in tx.pinned_elsewhere(name, template, left)]
    return found


def retemplate(intake: Intake, relation: str | None, why: str, actor: str) -> int:
    """Move all of them, page by page; return their number.  After a crash, the next call continues.

    What one of them kept out by its old prompt is admitted.
    """
    total = 0
    while True:
        with intake.write() as tx:
            page = moved(tx, intake.catalogue, relation, why, PAGE)
            _write(tx, page, actor)
        intake.alive()
        if not page:
            intake.readmit_homonyms()
            return total
        total += len(page)


def _write(tx: Transaction, page: list[tuple[Fact, NewFact]], actor: str) -> None:
    tx.move_facts(
        [
            Move(old.id, "superseded", new.reason, expect="wanted", reason_code=new.reason_code)
            for old, new in page
        ],
        actor,
    )
    tx.put_facts([new for _, new in page], actor)


def _in(fact: Fact, template: str, why: str) -> NewFact:
    """The fact with another template; the time since which it is wanted stays the same."""
    key = prompt_key(render(template, fact.subject_label))
    reason = because("retemplated", f"from {fact.template!r}: {why}")
    return replace(renewed(fact, reason), template=template, prompt_key=key, since=fact.since)
