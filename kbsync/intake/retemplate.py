"""Moving wanted facts to the template that their relation has now.

A fact is pinned to the prompt that it was made with, so a corrected template changes nothing that is
wanted.  Moving a fact makes another row of it, whose residual has to be optimised: this is asked for
explicitly, with its cost shown first.
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
class Outdated:
    """Wanted facts of one relation that are pinned to a template that it does not use any more."""

    relation: str
    template: str
    """What they are pinned to."""
    now: str
    facts: int


def outdated(tx: Snapshot, catalogue: Catalogue, relation: str | None = None) -> list[Outdated]:
    """What could be moved, of one relation or of all; relations that no catalogue lists cannot."""
    return [
        Outdated(name, template, catalogue[name].template, count)
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
    """Moves all of them, page by page; how many.  Killed in between, the next call goes on."""
    total = 0
    while True:
        with intake.write() as tx:
            page = moved(tx, intake.catalogue, relation, why, PAGE)
            _write(tx, page, actor)
        intake.alive()
        if not page:
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
    """The fact in another template; it has been wanted for as long as before."""
    key = prompt_key(render(template, fact.subject_label))
    reason = because("retemplated", f"from {fact.template!r}: {why}")
    return replace(renewed(fact, reason), template=template, prompt_key=key, since=fact.since)
