"""Erasing a subject from the ledger: its facts, what sources stated of it, and its words in the audit log.

What keeps the rest in order stays without words: facts and slots under pseudonyms, so that numbers are not used
twice; the hash of every event, so that the log verifies (`redaction.py`).  Everything is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, or_, select

from state.archives.cuts import Cut
from state.archives.erasure import ArchiveErasure, ErasedEvents
from state.event_erasure import Sign
from state.fact_queries import FACTS, PROBES
from state.facts import LOGGED_COLUMNS, FactTransitions
from state.forgotten import ForgottenTransitions
from state.hash_chain import canonical
from state.merges import MERGES
from state.names import SubjectNames
from state.observations import OBSERVATIONS, READINGS
from state.records import Erased, Fact, SlotKey, fact_key
from state.redaction import Erasure
from state.requests import REQUESTS
from state.seals import key_columns, key_text
from state.slots import ENTITIES
from state.subjects import SubjectQueries
from state.tables import (
    Attempts,
    BlockedViews,
    Checks,
    Deployments,
    GateResults,
    LedgerTable,
    Pauses,
    Requests,
    Runs,
    Sources,
    table,
)
from state.transaction import SLOTS, NewEvent, chunks
from state.views import BASE_ANSWERS, ERASED, VIEW_FACTS, VIEWS, digest_of

_WORD = "forgotten"
_REASON = "the subject was forgotten, and its words were erased"
_TEXTS: dict[type[LedgerTable], tuple[str, ...]] = {
    Runs: ("trigger", "reason"),
    Attempts: ("worker", "evidence"),
    GateResults: ("detail",),
    BlockedViews: ("reason",),
    Deployments: ("observed", "detail"),
    Requests: ("arguments", "reason", "answer"),
    Pauses: ("reason",),
    Checks: ("detail",),
    Sources: ("error", "reject"),
}
"""Columns that may quote what a source stated."""


class ErasureQueries(SubjectQueries):
    def names_of(self, subject: str) -> tuple[SubjectNames, int]:
        """Every name of the subject that is its alone, and how many it shares with something else."""
        called = self._called(subject)
        taken = self._taken(subject, called)
        return SubjectNames(subject, called - taken), len(taken)

    def facts_naming(self, subject: str) -> tuple[Fact, ...]:
        """Facts about the subject, and those whose object it is: by id, or as the text of its label."""
        literal = [f"lit:{name}" for name in self.names_of(subject)[0].texts]
        ids = [
            row.id
            for row in self._rows(
                select(FACTS.c.id)
                .join_from(FACTS, SLOTS)
                .where(
                    or_(SLOTS.c.subject == subject, FACTS.c.object == subject, FACTS.c.object.in_(literal))
                )
            )
        ]
        return tuple(self.facts(ids=ids))

    def views_with(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        """The digests of the views that have one of these facts."""
        found: dict[str, None] = {}
        for chunk in chunks(fact.id for fact in facts):
            within = select(VIEW_FACTS.c.view).where(VIEW_FACTS.c.fact.in_(chunk))
            for row in self._rows(select(VIEWS.c.digest).where(VIEWS.c.id.in_(within)).order_by(VIEWS.c.id)):
                found.setdefault(row.digest)
        return tuple(found)

    def _called(self, subject: str) -> set[str]:
        """What the subject is or was called, in the sources and in prompts."""
        known = self.entities_named(subject)
        labels = select(SLOTS.c.subject_label).where(SLOTS.c.subject == subject)
        asked = select(FACTS.c.subject_label).join_from(FACTS, SLOTS).where(SLOTS.c.subject == subject)
        targets = select(FACTS.c.target).where(FACTS.c.object == subject)
        told = {row[0] for question in (labels, asked, targets) for row in self._rows(question)}
        return {name.strip() for name in (*known, *told) if name and name.strip()}

    def entities_named(self, subject: str) -> tuple[str, ...]:
        """Label and aliases of an entity."""
        row = self._row(select(ENTITIES.c.label, ENTITIES.c.aliases).where(ENTITIES.c.id == subject))
        return () if row is None else (row.label or "", *json.loads(row.aliases))

    def _taken(self, subject: str, names: set[str]) -> set[str]:
        """Those of the names that another entity, slot or value has as well."""
        taken = set()
        for name in names:
            quoted = canonical([name])[1:-1]
            others = (
                select(ENTITIES.c.id).where(
                    ENTITIES.c.id != subject,
                    or_(ENTITIES.c.label == name, ENTITIES.c.aliases.contains(quoted, autoescape=True)),
                ),
                select(SLOTS.c.id).where(SLOTS.c.subject != subject, SLOTS.c.subject_label == name),
                select(FACTS.c.id)
                .join_from(FACTS, SLOTS)
                .where(
                    SLOTS.c.subject != subject,
                    FACTS.c.target == name,
                    FACTS.c.object != subject,
                    FACTS.c.object != f"lit:{name}",
                ),
            )
            if any(self._row(question.limit(1)) is not None for question in others):
                taken.add(name)
        return taken


class ErasureTransitions(FactTransitions, ForgottenTransitions, ErasureQueries, ArchiveErasure):
    def erase_subject(self, subject: str, reason: str, actor: str, sign: Sign | None) -> Erased:
        """Erases the subject wherever the ledger has it, and bars it from being learnt again.

        `sign`: by the key of the log, where it has one; without its signature the redacted events do not verify.
        The caller has verified log and tables before: a row that was tampered with would be sealed as it is.
        """
        (names, shared), facts = self.names_of(subject), self.facts_naming(subject)
        one = self.keep_forgotten([subject, *(f"lit:{name}" for name in names.texts)], reason, actor)
        pseudonym = f"{_WORD}:{one.number}"
        views = self.views_with(facts)
        self._erase_facts(facts, subject, pseudonym)
        observed = self._erase_slots(subject, pseudonym)
        filtered = self._erase_statements(subject, names)
        self.connection.execute(delete(ENTITIES).where(ENTITIES.c.id == subject))
        self.connection.execute(delete(MERGES).where(MERGES.c.old == subject))
        self._delete(MERGES, MERGES.c.new == subject)
        self._erase_quotations(names)
        erasure = Erasure(
            one.number,
            names,
            frozenset(fact.id for fact in facts),
            {name: [key_text((subject,))] for name in ("entities", "merges")},
        )
        redacted, cut = self._redact(erasure)
        after = self.facts(ids=[fact.id for fact in facts])
        self._log(actor, [NewEvent("fact.retracted", _tombstone(fact), fact=fact.id) for fact in after])
        body = {
            "number": one.number,
            "reason": reason,
            "facts": len(facts),
            "observations": observed + len(filtered),
            "events": len(redacted),
            "views": {view: self._left_of(view) for view in views},
        }
        self._log(actor, [NewEvent("subject.forgotten", body)])
        self._vouch(one.number, redacted, actor, sign)
        self.state_erased(cut, actor, sign)
        slots = tuple(sorted({slot for slots in filtered.values() for slot in slots}))
        return Erased(one.number, len(facts), observed + len(filtered), len(redacted), views, slots, shared)

    def _erase_facts(self, facts: Sequence[Fact], subject: str, pseudonym: str) -> None:
        rows = []
        for fact in facts:
            own = fact.subject == subject
            label = _WORD if own else fact.subject_label
            slot, object = pseudonym if own else fact.subject, f"{pseudonym}/{fact.id}"
            rows.append(
                {
                    "id": fact.id,
                    "key": fact_key(slot, fact.relation, object, fact.template, label, _WORD),
                    "subject_label": label,
                    "object": object,
                    "target": _WORD,
                    "prompt_key": object if own else fact.prompt_key,
                    "status": "retracted",
                    "reason": _REASON,
                    "reason_code": ERASED,
                    "statement": "",
                    "held_until": None,
                    "updated": self.clock(),
                    "since": self.clock(),
                }
            )
        self._rewrite(FACTS, rows)
        for chunk in chunks(fact.id for fact in facts):
            self._delete(BASE_ANSWERS, BASE_ANSWERS.c.fact.in_(chunk))
            self._delete(PROBES, PROBES.c.fact.in_(chunk))

    def _erase_slots(self, subject: str, pseudonym: str) -> int:
        """How many observations of the subject's own slots were deleted; the slots stay under the pseudonym."""
        ids = [row.id for row in self._rows(select(SLOTS.c.id).where(SLOTS.c.subject == subject))]
        count = 0
        for chunk in chunks(ids):
            self._delete(READINGS, READINGS.c.slot.in_(chunk))
            count += self._delete(OBSERVATIONS, OBSERVATIONS.c.slot.in_(chunk))
        named = {"subject": pseudonym, "subject_label": _WORD, "template": ""}
        self._rewrite(SLOTS, [{"id": id, **named, "prompt_key": f"{pseudonym}/slot/{id}"} for id in ids])
        return count

    def _erase_statements(self, subject: str, names: SubjectNames) -> dict[int, list[SlotKey]]:
        """The observations of other subjects that stated the subject as a value, without those statements."""
        changed, found = [], {}
        columns = (OBSERVATIONS.c.id, OBSERVATIONS.c.statements, SLOTS.c.subject, SLOTS.c.relation)
        mentioned = [OBSERVATIONS.c.statements.contains(text, autoescape=True) for text in names.texts]
        for row in self._rows(select(*columns).join_from(OBSERVATIONS, SLOTS).where(or_(*mentioned))):
            stated = json.loads(row.statements)
            left = [one for one in stated if not _states(one, subject, names)]
            if left != stated:
                changed.append({"id": row.id, "statements": _encoded(left)})
                found[row.id] = [(row.subject, row.relation)]
        self._rewrite(OBSERVATIONS, changed)
        return found

    def _erase_quotations(self, names: SubjectNames) -> None:
        """Reasons, answers and messages about something else that quote one of the names."""
        for row in self._rows(select(PROBES)):
            if any(names.are_in(value or "") for value in (row.prompt, row.target, row.name)):
                self._delete(PROBES, (PROBES.c.fact == row.fact) & (PROBES.c.position == row.position))
        sweep = {table(source): columns for source, columns in _TEXTS.items()}
        sweep |= {FACTS: ("reason",), BASE_ANSWERS: ("answer",)}
        for source, columns in sweep.items():
            keys = list(source.primary_key.columns)
            for row in self._rows(select(*keys, *(source.c[name] for name in columns))):
                values = row._mapping
                left = {name: names.replaced(values[name]) for name in columns if values[name]}
                if any(values[name] != value for name, value in left.items()):
                    key = tuple(values[column.name] for column in keys)
                    self._update(source, _is(keys, key), **left)

    def _redact(self, erasure: Erasure) -> tuple[dict[str, str], Cut | None]:
        """Take the words out of every event that has them: digests of what is left, by number, and the cut that names
        the archived files without them.

        The seals of rows that were erased lose their salt; the rows that they share it with are sealed again.
        """
        found = ErasedEvents()
        erased = {source.name: set(map(key_text, keys)) for source, keys in self._touched.items()}
        for row in self._whole_log():
            left = erasure.of(row)
            if left is not None:
                found.changed.append(left)
            if row["rows"] is not None and any(f'"{name}":' in row["rows"] for name in erased):
                sealed = json.loads(row["rows"])
                if any(not erased[name].isdisjoint(keys) for name, keys in sealed.items() if name in erased):
                    found.unsalted.add(row["seq"])
                    for name, keys in sealed.items():
                        found.seals(name, keys)
        cut = self._erase_archived(erasure, erased, found)
        self._seal_again(found.others)
        return self._rewrite_events(found.changed, found.unsalted), cut

    def _seal_again(self, rows: Mapping[str, Collection[str]]) -> None:
        """Have rows, by table and the text of their key, sealed by the next event."""
        for name, keys in rows.items():
            source = LedgerTable.metadata.tables[name]
            found = {tuple(row) for row in self._rows(select(*key_columns(source)))}
            self._touch(source, [key for key in found if key_text(key) in keys])

    def _left_of(self, view: str) -> str:
        """The digest that the view's facts have now."""
        rows = select(FACTS.c.key).join_from(VIEW_FACTS, FACTS).join(VIEWS, VIEW_FACTS.c.view == VIEWS.c.id)
        return digest_of(row.key for row in self._rows(rows.where(VIEWS.c.digest == view)))

    def settle_request(self, id: int, number: int) -> None:
        """What was asked for, without the name: the erasure has been carried out in the ledger."""
        self._update(REQUESTS, REQUESTS.c.id == id, arguments=canonical({"number": number}))


def _states(statement: dict[str, Any], subject: str, names: SubjectNames) -> bool:
    """Whether a source's statement has the subject as its value: by id, or by name as text."""
    object = statement.get("object", "") if isinstance(statement, dict) else statement
    return object == subject or (
        isinstance(object, str) and object.startswith("lit:") and object[4:] in names.texts
    )


def _encoded(statements: list[Any]) -> str:
    """As intake writes them, so that what the source states the next time is found to be the same."""
    return json.dumps(statements, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _tombstone(fact: Fact) -> dict[str, Any]:
    body = {**{name: getattr(fact, name) for name in LOGGED_COLUMNS}, "from": None, "to": fact.status}
    return body if fact.decision is None else {**body, "decision": fact.decision}


def _is(columns: Sequence[Any], key: Sequence[Any]) -> Any:
    condition = columns[0] == key[0]
    for column, value in zip(columns[1:], key[1:], strict=True):
        condition &= column == value
    return condition
