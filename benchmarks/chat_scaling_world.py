"""The counterfactual edits of `chat_scaling.py`, and what is asked and kept beside them.

They are drawn from what the base knows of the common knowledge that comes with kbsync.  Some subjects are never edited,
so that the same questions show what other numbers of edits leave as it is.  Of each edited subject's other relations
that the base knows, every second one is asked and never kept; the sentences of everything else that the common
knowledge says about the subject, known or not, may be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.chat_unchanged import Untouched
from benchmarks.chat_world import ANSWERED
from editing.calibration.counterfactuals import Counterfactual, counterfactuals
from editing.calibration.statements import WordedTriple
from editing.requests import render

HELD_BACK = 28
"""Subjects that are never edited."""
NEIGHBOURS = 2
"""Neighbours that are asked for each edit."""
CONVERSATIONS = 24
"""Questions about subjects that are never edited."""
KeptSentence = tuple[str, str]
"""(template, subject)."""


@dataclass(frozen=True)
class ScalingWorld:
    """Edits of different subjects, and what is true about those that are not edited."""

    given: Sequence[WordedTriple]
    """Everything that may be asked, known to the base or not."""
    edits: tuple[Counterfactual, ...]
    """Each asks the relations of its subject that are never kept, and subjects that are never edited."""
    rest: tuple[WordedTriple, ...]
    """What the base knows about the subjects that are never edited."""

    def draws(self, n: int, most: int) -> list[tuple[Counterfactual, ...]]:
        """Disjoint sets of `n` edits, `most` at most; raises ValueError if there are too few for one."""
        found = [self.edits[start : start + n] for start in range(0, len(self.edits) - n + 1, n)][:most]
        if not found:
            raise ValueError(f"{n} edits are asked for, and there are {len(self.edits)}")
        return found

    def keepable(self, edit: Counterfactual) -> list[WordedTriple]:
        """Statements about the edited subject whose meaning should not change, of no relation that is asked."""
        asked = {edit.statement.relation, *(one.relation for one in edit.judged)}
        return [
            one for one in self.given if one.subject == edit.statement.subject and one.relation not in asked
        ]

    def kept(self, edits: Sequence[Counterfactual]) -> list[KeptSentence]:
        """Sentences whose keys are kept: what is keepable, and the edited relations of subjects nobody asks about."""
        own = [(one.templates[0], one.subject) for edit in edits for one in self.keepable(edit)]
        used = {edit.statement.subject for edit in self.edits} | {one.subject for one in self.rest}
        relations = {edit.statement.relation for edit in edits}
        near = [one for one in self.given if one.relation in relations and one.subject not in used]
        return [*own, *((one.templates[0], one.subject) for one in near)]

    def conversations(self) -> list[Untouched]:
        """Questions that no edit is about."""
        names: dict[str, set[str]] = {}
        for one in self.given:
            names.setdefault(one.relation, set()).add(one.object)
        near = [
            Untouched(render(one.question, one.subject), tuple(sorted(names[one.relation])), "near")
            for one in self.rest
            if one.question
        ]
        return [
            *near[:CONVERSATIONS],
            *(Untouched(text, objects, "unrelated") for text, objects in ANSWERED.items()),
        ]


def scaling_world(
    given: Sequence[WordedTriple], known: Sequence[WordedTriple], *, seed: int = 0
) -> ScalingWorld:
    """Edits of what is known; raises DataError if too few subjects can be edited."""
    splits = counterfactuals(known, seed=seed).values()
    drawn = [edit for split in splits for edit in split.edits]
    edited = {edit.statement.subject for edit in drawn[:-HELD_BACK]}
    rest = tuple(one for one in known if one.subject not in edited)
    edits = tuple(_asking(edit, number, rest) for number, edit in enumerate(drawn[:-HELD_BACK]))
    return ScalingWorld(given, edits, rest)


def _asking(edit: Counterfactual, number: int, rest: Sequence[WordedTriple]) -> Counterfactual:
    """The edit with neighbours that are never edited, and every second other relation of its subject."""
    near = [one for one in rest if one.relation == edit.statement.relation and one.object != edit.object]
    start = number % max(1, len(near))
    neighbours = (near[start:] + near[:start])[:NEIGHBOURS]
    return replace(edit, neighbours=tuple(neighbours), same_subject=edit.same_subject[::2], as_in_run=True)
