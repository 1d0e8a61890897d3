"""What follows from the facts of a view: two-hop questions, facts asked for their subject, and symmetric facts.

Pure: from what the view and the base state, and what the ledger has in the slots concerned, to `Consequence`s.  They
are derived again for every view, so none outlives a fact that it follows from.  A consequence is left out where it
might be wrong: where its question has another answer, or an object has several subjects.  What a source states, or a
person decided, always wins.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from editing.consequence import Consequence, ConsequenceKind
from editing.folding import fold
from editing.requests import PLACEHOLDER, prompt_key, render
from kbsync.catalogue.relations import Catalogue, Relation
from state.records import Fact, SlotKey

OPEN = ("wanted", "held", "quarantined")
"""Statuses of a fact that occupies its slot."""
ONLY_A_NAME = "name:"
"""Begins the id of an object of which nothing but its name is known."""


@dataclass(frozen=True, slots=True)
class Premise:
    """A triple that the view or the base states."""

    subject: str
    relation: str
    object: str
    subject_label: str
    target: str
    """The object's label."""
    fact: int | None = None
    """Id of the fact of the view; None: the base states it, and the ledger does not watch it."""

    @classmethod
    def of(cls, fact: Fact) -> Premise:
        return cls(fact.subject, fact.relation, fact.object, fact.subject_label, fact.target, fact.id)


@dataclass(frozen=True, slots=True)
class Derivation:
    """A consequence that may still contradict something, and what that depends on."""

    fact: int
    """Id of the fact that it is derived for, one of its parents."""
    about: str
    """Id of the question's subject."""
    consequence: Consequence
    answer: str
    """Id of the answer."""
    sole: Premise | None = None
    """A statement whose object must have no other subject."""
    slot: SlotKey | None = None
    """The slot that it would fill."""


@dataclass(frozen=True, slots=True)
class LedgerClaims:
    """What the ledger has that a derivation must not contradict."""

    watched: Mapping[str, frozenset[SlotKey]] = field(default_factory=dict)
    """Prompt key → slots with that prompt."""
    holders: Mapping[str, frozenset[SlotKey]] = field(default_factory=dict)
    """Object → slots in which it is wanted, held or in quarantine."""
    slots: Mapping[SlotKey, Sequence[Fact]] = field(default_factory=dict)
    """Every fact that a slot ever had."""
    denied: frozenset[str] = frozenset()
    """Subjects and objects about which nothing is learnt."""


def derivations(
    stated: Sequence[Premise], about: Collection[int], catalogue: Catalogue
) -> Iterator[Derivation]:
    """All that follows from `stated` and has a fact of `about` (ids) among its parents.

    What has several parents in `about` is derived for the first of them only.
    """
    by_subject, by_object = defaultdict(list), defaultdict(list)
    for one in stated:
        by_subject[one.subject].append(one)
        by_object[one.object].append(one)
    wording = _Wording(catalogue)
    done: set[tuple[str, str]] = set()
    for one in stated:
        if one.fact is None or one.fact not in about or one.relation not in catalogue:
            continue
        pairs: list[tuple[Premise, Premise]] = []
        pairs += [(one, other) for other in by_subject[one.object] if other.relation in catalogue]
        pairs += [(other, one) for other in by_object[one.subject] if other.relation in catalogue]
        beside = [o for o in by_subject[one.subject] if o is not one and o.relation in catalogue]
        found = [wording.reversed(one), wording.symmetric(one)]
        found += [wording.chained(one.fact, first, second) for first, second in pairs]
        found += [wording.described(one.fact, *pair) for o in beside for pair in ((one, o), (o, one))]
        for derived in found:
            if derived is not None and (text := _folded(derived)) not in done:
                done.add(text)
                yield derived


def _folded(one: Derivation) -> tuple[str, str]:
    """Question and answer as a model reads them."""
    return fold(one.consequence.rendered), fold(one.consequence.target)


@dataclass(frozen=True, slots=True)
class _Wording:
    """Puts consequences into words; None where the catalogue has no words, or the question contains its answer."""

    catalogue: Catalogue

    def reversed(self, one: Premise) -> Derivation | None:
        relation = self.catalogue[one.relation]
        unedited = relation.inverse[1:] if relation.edit_inverse else relation.inverse
        if not unedited:
            return None
        turned = (one.object, one.target), (one.subject, one.subject_label)
        return self._derived("reversed", unedited[0], *turned, parents=(one,), sole=one)

    def symmetric(self, one: Premise) -> Derivation | None:
        relation = self.catalogue[one.relation]
        if not relation.symmetric or one.subject == one.object:
            return None
        turned = (one.object, one.target), (one.subject, one.subject_label)
        slot = (one.object, one.relation)
        return self._derived("symmetric", relation.template, *turned, parents=(one,), slot=slot)

    def chained(self, fact: int, first: Premise, second: Premise) -> Derivation | None:
        """`second` is about the object of `first`: the capital of the birthplace of X."""
        inner, outer = self.catalogue[first.relation], self.catalogue[second.relation]
        template = _two_hops(outer, inner.object_phrase)
        ends = (first.subject, first.subject_label), (second.object, second.target)
        return self._derived("two_hop", template, *ends, parents=(first, second), fact=fact)

    def described(self, fact: int, first: Premise, second: Premise) -> Derivation | None:
        """Both have one subject, which `first` describes: the capital of the country whose head of state is X."""
        inner, outer = self.catalogue[first.relation], self.catalogue[second.relation]
        template = _two_hops(outer, inner.subject_phrase)
        ends = (first.object, first.target), (second.object, second.target)
        return self._derived("two_hop", template, *ends, parents=(first, second), fact=fact, sole=first)

    def _derived(
        self,
        kind: ConsequenceKind,
        template: str,
        subject: tuple[str, str],
        answer: tuple[str, str],
        *,
        parents: tuple[Premise, ...],
        fact: int | None = None,
        **more: Premise | SlotKey | None,
    ) -> Derivation | None:
        """`subject` and `answer`: (id, label) of each."""
        if not template or f" {fold(answer[1])} " in f" {fold(render(template, subject[1]))} ":
            return None
        ids = tuple(dict.fromkeys(str(one.fact) for one in parents if one.fact is not None))
        consequence = Consequence(kind, template, subject[1], answer[1], ids)
        fact = parents[0].fact if fact is None else fact
        assert fact is not None, "it is derived for a fact of the view"
        return Derivation(fact, subject[0], consequence, answer[0], **more)  # type: ignore[arg-type]


def _two_hops(outer: Relation, inner: str) -> str:
    """The template of a two-hop question; empty if one of the phrases is."""
    if not outer.object_phrase or not inner:
        return ""
    phrase = outer.object_phrase.replace(PLACEHOLDER, inner)
    return f"{phrase[0].upper()}{phrase[1:]} is"


def consistent(
    derived: Sequence[Derivation],
    stated: Iterable[Premise],
    edited: Collection[str],
    claims: LedgerClaims,
) -> list[Derivation]:
    """`derived` without what may be wrong, and without what a fact of the view is edited with (keys of prompts)."""
    theirs: dict[str, set[str]] = defaultdict(set)
    for question, answer in map(_folded, derived):
        theirs[question].add(answer)
    subjects: dict[tuple[str, str], set[str]] = defaultdict(set)
    bearers: dict[str, set[str]] = defaultdict(set)
    for statement in stated:
        subjects[statement.relation, statement.object].add(statement.subject)
        bearers[fold(statement.subject_label)].add(statement.subject)
        if not statement.object.startswith(ONLY_A_NAME):
            bearers[fold(statement.target)].add(statement.object)

    def sound(one: Derivation) -> bool:
        question, key = _folded(one)[0], prompt_key(one.consequence.rendered)
        return (
            len(theirs[question]) == 1
            and len(bearers[fold(one.consequence.subject)]) <= 1
            and key not in edited
            and claims.watched.get(key, frozenset()) <= {one.slot}
            and claims.denied.isdisjoint((one.about, one.answer))
            and (one.sole is None or _has_one_subject(one.sole, subjects, claims))
            and (one.slot is None or _is_free(one, claims.slots.get(one.slot, ())))
        )

    return [one for one in derived if sound(one)]


def _has_one_subject(
    one: Premise, subjects: Mapping[tuple[str, str], set[str]], claims: LedgerClaims
) -> bool:
    held = {s for s, relation in claims.holders.get(one.object, ()) if relation == one.relation}
    return held | subjects[one.relation, one.object] <= {one.subject}


def _is_free(one: Derivation, slot: Iterable[Fact]) -> bool:
    """Whether nothing occupies the slot, and nobody has withdrawn this very value from it."""
    return not any(
        fact.status in OPEN or (fact.status == "retracted" and fact.object == one.answer) for fact in slot
    )


def chosen(derived: Iterable[Derivation], most: int) -> list[Derivation]:
    """At most `most` of each kind for each fact, chosen independently of the others."""
    grouped: dict[tuple[int, ConsequenceKind], list[Derivation]] = defaultdict(list)
    for one in derived:
        grouped[one.fact, one.consequence.kind].append(one)
    return [one for some in grouped.values() for one in sorted(some, key=_lot)[:most]]


def by_fact(
    derived: Iterable[Derivation], names: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Consequence, ...]]:
    """Id of the fact → its consequences; `names` are the aliases of the answers, by entity."""
    found: dict[str, tuple[Consequence, ...]] = defaultdict(tuple)
    for one in derived:
        found[str(one.fact)] += (replace(one.consequence, names=tuple(names.get(one.answer, ()))),)
    return dict(found)


def _lot(one: Derivation) -> bytes:
    return hashlib.sha256(one.consequence.rendered.encode()).digest()
