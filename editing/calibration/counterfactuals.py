"""Counterfactual edits of what a model knows, in splits by subject.

    search   every trial of the search is judged on these
    check    the best trials are compared on these, and the settings are chosen
    test     the chosen settings are judged on these once, and reported
    further  what is left over: the finalists of the search are compared on parts of these

No subject is in two splits, and every subject is edited in one relation only, so that its others can be asked.
Torch-free.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from editing.calibration.statements import WordedTriple
from editing.datasets import Record
from editing.errors import DataError
from editing.requests import EditRequest

SHARES = {"search": 3, "check": 3, "test": 4}
"""How many of ten subjects each split gets."""
MOST = {"search": 24, "check": 60, "test": 60}
"""Edits of each split at most: enough to tell settings apart, few enough for the budget.

What is chosen on the check split has to hold for as many edits at once as are tested: settings that answer two dozen
perfectly differ on five dozen.
"""
FURTHER = "further"
PARTS = 3
"""Parts of the further edits, each of about as many as are checked, that finalists are compared on at most."""
LEAST = 2
"""Edits that each split needs at least."""
NEIGHBOURS = 5
SAME_SUBJECT = 5
UNTOUCHED = 100
"""Statements about other subjects that are asked, at most."""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """One statement that the model knows, with another object of the same relation."""

    statement: WordedTriple
    object: str
    neighbours: tuple[WordedTriple, ...]
    """Known statements of the same relation about other subjects, none of which is edited in the same split."""
    same_subject: tuple[WordedTriple, ...]
    """Known statements of other relations about the same subject."""
    as_in_run: bool = False
    """Whether all of them are protected, and asked, as a run does with what the ledger knows of the subject."""

    @property
    def judged(self) -> tuple[WordedTriple, ...]:
        """The statements of other relations that are asked afterwards: the first, the third, and so on."""
        return self.same_subject if self.as_in_run else self.same_subject[::2]

    @property
    def protected(self) -> tuple[WordedTriple, ...]:
        """The others, whose next-token distribution the optimisation preserves; they are not asked."""
        return self.same_subject if self.as_in_run else self.same_subject[1::2]

    @property
    def id(self) -> str:
        """Subject and relation, which no other edit shares."""
        return f"{self.statement.subject} · {self.statement.relation}"

    def request(self, variant: int = 0) -> EditRequest:
        """The edit, in the wording of that number."""
        name = f"{self.id} · {variant}" if variant else self.id
        return EditRequest(name, self.statement.templates[variant], self.statement.subject, self.object)

    def record(self, reserved: int = 0) -> Record:
        """The edit with the prompts that judge it; the first `reserved` paraphrases are left out."""
        return Record(
            self.request(),
            previous=self.statement.object,
            paraphrases=self.statement.paraphrases[reserved:],
            neighbours=tuple((one.prompt, one.object) for one in self.neighbours),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """The edits of one split, and statements about other subjects than theirs."""

    name: str
    edits: tuple[Counterfactual, ...]
    untouched: tuple[WordedTriple, ...]


def counterfactuals(known: Sequence[WordedTriple], *, seed: int) -> dict[str, Split]:
    """The splits of the edits of what the model knows.

    Raises DataError if there are too few subjects, or no relation has two objects.
    """
    ordered = sorted(known, key=lambda one: _draw(seed, one.subject, one.relation))
    by_relation: dict[str, list[WordedTriple]] = defaultdict(list)
    by_subject: dict[str, list[WordedTriple]] = defaultdict(list)
    for one in ordered:
        by_relation[one.relation].append(one)
        by_subject[one.subject].append(one)
    subjects = sorted(by_subject, key=lambda subject: _draw(seed, subject))
    editable = [_editable(by_subject[subject], by_relation) for subject in subjects]
    dealt = _dealt([one for one in editable if one is not None])
    edited = {one.subject for one in editable if one is not None}
    splits = {}
    for name, statements in dealt.items():
        changed = {(one.subject, one.relation) for one in statements}
        edits = tuple(_edit(one, changed, by_relation, by_subject) for one in statements)
        splits[name] = Split(name, edits, _untouched(ordered, edits, edited))
    return splits


def parts_of(further: Split) -> list[Split]:
    """The further edits in up to `PARTS` equal parts of at most as many as are checked; none if they are less than half
    of that."""
    most = MOST["check"]
    count = min(PARTS, (len(further.edits) + most // 2) // most)
    size = min(most, len(further.edits) // count) if count else 0
    return [
        Split(
            f"{FURTHER} {number + 1}", further.edits[size * number : size * (number + 1)], further.untouched
        )
        for number in range(count)
    ]


def _editable(
    statements: Sequence[WordedTriple], by_relation: Mapping[str, Sequence[WordedTriple]]
) -> WordedTriple | None:
    """The first statement, in the drawn order, whose relation has another object."""
    usable = (
        one
        for one in statements
        if any(
            other.object != one.object and other.subject != one.subject for other in by_relation[one.relation]
        )
    )
    return next(usable, None)


def _edit(
    statement: WordedTriple,
    changed: Collection[tuple[str, str]],
    by_relation: Mapping[str, Sequence[WordedTriple]],
    by_subject: Mapping[str, Sequence[WordedTriple]],
) -> Counterfactual:
    """The statement with another object; none of the (subject, relation) that change with it is its neighbour."""
    others = [one for one in by_relation[statement.relation] if one.subject != statement.subject]
    # Rotated by the subject, so that edits of one relation have different objects and different neighbours.
    start = int(_draw(0, statement.subject, statement.relation)[:8], 16) % len(others)
    others = others[start:] + others[:start]
    new = next(one.object for one in others if one.object != statement.object)
    kept = (one for one in others if one.object != new and (one.subject, one.relation) not in changed)
    return Counterfactual(
        statement,
        new,
        tuple(islice(kept, NEIGHBOURS)),
        tuple(one for one in by_subject[statement.subject] if one.relation != statement.relation)[
            :SAME_SUBJECT
        ],
    )


def _dealt(editable: Sequence[WordedTriple]) -> dict[str, list[WordedTriple]]:
    """The statements that each split edits."""
    dealt: dict[str, list[WordedTriple]] = {name: [] for name in SHARES}
    names = [name for name, share in SHARES.items() for _ in range(share)]
    names = names[::2] + names[1::2]  # every few subjects fill all splits
    for index, statement in enumerate(editable):
        dealt[names[index % len(names)]].append(statement)
    if any(len(some) < LEAST for some in dealt.values()):
        raise DataError(
            f"only {len(editable)} subjects have a known fact that can be given another object, and 7 are needed at "
            "least (40 or more for a useful result): give more facts that the model knows with --facts"
        )
    further = [statement for name, some in dealt.items() for statement in some[MOST[name] :]]
    return {name: some[: MOST[name]] for name, some in dealt.items()} | {FURTHER: further}


def _untouched(
    known: Iterable[WordedTriple], edits: Sequence[Counterfactual], edited: Iterable[str]
) -> tuple[WordedTriple, ...]:
    """Known statements about other subjects than those of `edits`, which ask none of their neighbours again.

    Those about subjects that no split edits come first.
    """
    own = {edit.statement.subject for edit in edits}
    asked = {one for edit in edits for one in edit.neighbours}
    spare = frozenset(edited)
    others = [one for one in known if one.subject not in own and one not in asked]
    return tuple(sorted(others, key=lambda one: one.subject in spare)[:UNTOUCHED])


def _draw(seed: int, *parts: str) -> str:
    """A number, in hexadecimal, that depends on nothing else."""
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).hexdigest()
