"""Facts to edit in an experiment, with the prompts that judge them: counterfactual ones, or those of a data set.

As in CounterFact, a fact that the model knows gets another object of its relation.  Sets of different sizes are nested,
so that the scores of one fact can be compared from size to size, and optimised δs are shared.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from editing.calibration.statements import WordedTriple
from editing.datasets import Record
from editing.errors import DataError
from editing.requests import EditRequest, render

OBJECTS = 3
"""A relation with fewer known objects is not edited: its counterfactuals would nearly all be the same."""
SPARED = 0.2
"""Share of a relation's facts that is never edited, so that neighbours are left."""
NEIGHBOURS = 5
REFERENCES = 5
PROTECTED = 5


@dataclass(frozen=True, slots=True)
class EditCase:
    """One fact to edit."""

    record: Record
    """The edit in its first wording, and what judges it."""
    relation: str = ""
    wordings: tuple[str, ...] = ()
    """Further templates, some of which may be edited with (`variants`); those are not asked as paraphrases."""
    protected: tuple[str, ...] = ()
    """Templates about the subject whose next-token distribution should not change."""
    references: tuple[str, ...] = ()
    """Texts about subjects that truly have the new object."""

    @property
    def subject(self) -> str:
        return self.record.request.subject

    def requests(self, variants: int) -> list[EditRequest]:
        """What the editor is given: the fact in its first wording and in `variants` more."""
        own = self.record.request
        further = enumerate(self.wordings[:variants], start=1)
        return [own, *(EditRequest(f"{own.id} · {n}", t, own.subject, own.target) for n, t in further)]

    def paraphrases(self, variants: int) -> tuple[str, ...]:
        """The paraphrases that were not edited with."""
        used = {render(template, self.subject) for template in self.wordings[:variants]}
        return tuple(text for text in self.record.paraphrases if text not in used)


def editable(count: int) -> int:
    """How many of a relation's facts are edited at most."""
    return count - math.ceil(SPARED * count)


def from_records(records: Sequence[Record]) -> tuple[EditCase, ...]:
    """The facts of a data set, in its order."""
    return tuple(
        EditCase(record, relation=record.relation or record.request.prompt, references=record.references)
        for record in records
    )


def counterfactual_cases(
    known: Sequence[WordedTriple],
    *,
    seed: int,
    most: int | None = None,
    relations: Collection[str] | None = None,
) -> tuple[EditCase, ...]:
    """At most `most` counterfactual edits of what a model knows, in a random order that depends on `seed`.

    With `relations`, only facts of these are edited.  Every subject is edited once before any is edited twice.  No
    edited fact judges or protects another one.
    Raises DataError if nothing can be edited.
    """
    facts = _Facts(known)
    generator = random.Random(f"cases {seed}")
    able = facts.drawn(generator)
    chosen = [one for one in able if relations is None or one.relation in relations][:most]
    if not chosen:
        raise DataError(
            f"none of the {len(known)} facts that the model knows can be edited: a relation needs {OBJECTS} known "
            "objects at least; give more facts with --facts"
        )
    edited = frozenset(chosen)
    return tuple(
        facts.case(one, edited, random.Random(f"{seed} {one.subject} {one.relation}")) for one in chosen
    )


class _Facts:
    """Known facts by subject, relation, and relation and object."""

    def __init__(self, known: Sequence[WordedTriple]) -> None:
        self.known = known
        self.by_subject: dict[str, list[WordedTriple]] = defaultdict(list)
        self.by_relation: dict[str, list[WordedTriple]] = defaultdict(list)
        for one in known:
            self.by_subject[one.subject].append(one)
            self.by_relation[one.relation].append(one)

    def objects(self, relation: str) -> list[str]:
        return sorted({one.object for one in self.by_relation[relation]})

    def drawn(self, generator: random.Random) -> list[WordedTriple]:
        """The facts that can be edited, in a random order: first one of each subject, then a second one, …"""
        able: list[WordedTriple] = []
        for relation, some in self.by_relation.items():
            if len(self.objects(relation)) >= OBJECTS:
                able += generator.sample(some, editable(len(some)))
        generator.shuffle(able)
        turn: dict[str, int] = defaultdict(int)
        turns = []
        for one in able:
            turns.append(turn[one.subject])
            turn[one.subject] += 1
        return [one for _, one in sorted(zip(turns, able, strict=True), key=lambda pair: pair[0])]

    def case(
        self, fact: WordedTriple, edited: Collection[WordedTriple], generator: random.Random
    ) -> EditCase:
        new = generator.choice([o for o in self.objects(fact.relation) if o != fact.object])
        further = [t for t in fact.templates[1:] if t.startswith("{}")] or list(fact.templates[1:])
        record = Record(
            EditRequest(f"{fact.subject} · {fact.relation}", fact.templates[0], fact.subject, new),
            previous=fact.object,
            paraphrases=fact.paraphrases,
            neighbours=self._neighbours(fact, new, edited, generator),
            generation=tuple(render(t, fact.subject) for t in further[:2]),
            questions=(fact.question,) if fact.question else (),
        )
        others = [one for one in self.by_subject[fact.subject] if one not in edited]
        return EditCase(
            record,
            relation=fact.relation,
            wordings=fact.templates[1:],
            protected=tuple(one.templates[0] for one in others[:PROTECTED]),
            references=self._references(fact, new),
        )

    def _neighbours(
        self, fact: WordedTriple, new: str, edited: Collection[WordedTriple], generator: random.Random
    ) -> tuple[tuple[str, str], ...]:
        """Prompts about other subjects with the old object and, where those are few, with other objects."""
        others = [
            one for one in self.by_relation[fact.relation]
            if one.subject != fact.subject and one.object != new and one not in edited
        ]  # fmt: skip
        generator.shuffle(others)
        others.sort(key=lambda one: one.object != fact.object)
        return tuple((one.prompt, one.object) for one in others[:NEIGHBOURS])

    def _references(self, fact: WordedTriple, new: str) -> tuple[str, ...]:
        having = [
            one for one in self.by_relation[fact.relation]
            if one.object == new and one.subject != fact.subject
        ]  # fmt: skip
        return tuple(
            " ".join(f"{one.prompt} {one.object}." for one in self.by_subject[holder.subject])
            for holder in having[:REFERENCES]
        )
