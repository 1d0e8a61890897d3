"""The facts that a view of an earlier instant is made of.

There are two pasts.  `world`: what was true then, as the sources tell it today, by their start and end dates (valid
time).  `ledger`: what this kbsync wanted then, by its log, with the mistakes that were corrected since (transaction
time).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from editing.requests import prompt_key
from editing.special_tokens import special_tokens
from kbsync.admission.past import stated_by
from kbsync.admission.verdicts import Accept
from kbsync.application import Application
from kbsync.intake.admit import Admission
from state import Snapshot
from state.records import EPOCH, Fact, Slot, SlotKey, fact_key

Time = Literal["world", "ledger"]
_PAGE = 1_000


def facts_at(app: Application, at: datetime, time: Time = "world") -> tuple[Fact, ...]:
    """The facts of that instant, sorted by key.

    A value that was never wanted, since it had ended before its slot was watched, has no row in the ledger: it gets a
    negative number, the same each time.
    """
    if time == "ledger":
        with app.state.read() as tx:
            return tx.wanted_at(at)
    model = app.settings.model.path
    admission = Admission(
        app.settings.policy, app.catalogue, special_tokens(model) if model is not None else frozenset()
    )
    found: list[Fact] = []
    with app.state.read() as tx:
        for slots in _pages(app, tx):
            for pair, (history, verdict) in admission.admitted_at(tx, slots, at).items():
                if isinstance(verdict, Accept):
                    fact = stated_by(history, verdict)
                    found.append(fact or _unwritten(slots[pair], verdict))
    return tuple(sorted(found, key=lambda fact: fact.key))


def _pages(app: Application, tx: Snapshot) -> Iterator[dict[SlotKey, Slot]]:
    """All slots of the catalogue's relations, a page at a time."""
    relations, after = [relation.id for relation in app.catalogue.enabled()], 0
    while page := tx.rendered_page(relations, after, _PAGE):
        yield {(slot.subject, slot.relation): slot for slot in page}
        after = page[-1].id or 0


def _unwritten(slot: Slot, verdict: Accept) -> Fact:
    """The accepted value as a fact that the ledger has no row for."""
    value, label, template = verdict.value, slot.subject_label or slot.subject, slot.template or "{}"
    key = fact_key(slot.subject, slot.relation, value.object, template, label, value.target)
    return Fact(
        id=-1 - int(key[:15], 16),
        key=key,
        subject=slot.subject,
        subject_label=label,
        relation=slot.relation,
        object=value.object,
        target=value.target,
        template=template,
        prompt_key=slot.prompt_key or prompt_key(template.replace("{}", label)),
        status="superseded",
        reason=verdict.reason.text,
        source=value.source,
        revision=value.revision,
        statement=value.statement,
        held_until=None,
        priority=value.priority,
        decision=None,
        created=EPOCH,
        updated=EPOCH,
        reason_code=verdict.reason.code,
    )
