"""RippleEdits, WikiBigEdit and QAEdit as pydantic models; each yields records."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from editing.datasets.record import Record
from editing.datasets.shapes import Id, Shape, Text, request_of
from editing.errors import DataError

Prompts = tuple[tuple[str, str], ...]


class RippleAnswer(Shape):
    """An answer; only its first spelling is used."""

    value: str
    aliases: tuple[str, ...] = ()


class RippleQuery(Shape):
    """A question that is put after the edit."""

    prompt: Text
    answers: tuple[RippleAnswer, ...]


class RippleTest(Shape):
    """Questions of one test."""

    test_queries: tuple[RippleQuery, ...]


class RippleFact(Shape):
    """A fact as a sentence: its relation's wording with the subject, the object, and a full stop."""

    prompt: Text


class RippleFactEdit(RippleFact):
    """The edit; the recent split has no fact that held before."""

    relation: Text
    original_fact: RippleFact | None = None


class RippleEdit(Shape):
    """An edit whose tests say what follows from it and what must not change."""

    edit: RippleFactEdit
    Subject_Aliasing: tuple[RippleTest, ...] = ()
    Compositionality_I: tuple[RippleTest, ...] = ()
    Compositionality_II: tuple[RippleTest, ...] = ()
    Logical_Generalization: tuple[RippleTest, ...] = ()
    Relation_Specificity: tuple[RippleTest, ...] = ()
    Forgetfulness: tuple[RippleTest, ...] = ()

    def records(self, number: str) -> list[Record]:
        wording, target = self._divided()
        before = self.edit.original_fact
        previous = _object_after(wording, before.prompt, "edit.original_fact.prompt") if before else None
        follows = (*self.Compositionality_I, *self.Compositionality_II, *self.Logical_Generalization)
        return [
            Record(
                request_of(number, wording, _subject_of(wording, self.edit.relation), target),
                previous=previous,
                paraphrases=tuple(prompt for prompt, _ in _asked(self.Subject_Aliasing)),
                neighbours=_asked((*self.Relation_Specificity, *self.Forgetfulness)),
                consequences=_asked(follows),
                relation=self.edit.relation,
            )
        ]

    def _divided(self) -> tuple[str, str]:
        """(the wording with its subject, the new object)."""
        found = re.match(
            r"(?P<wording>.+?(?: is| are| follows| is followed by)) (?P<object>.+)", self.edit.prompt
        )
        before = self.edit.original_fact
        if before is not None:
            # Both sentences begin alike, and the last verb that they share ends the wording.
            found = _longest(self.edit.prompt, before.prompt) or found
        if found is None:
            raise DataError(
                f"edit.prompt must be a wording that ends in 'is' or 'are', and an object; found {self.edit.prompt!r}"
            )
        return found["wording"], found["object"].removesuffix(".")


def _longest(one: str, other: str) -> re.Match[str] | None:
    """The division of `one` after the last verb up to which both sentences are the same."""
    found = None
    for verb in re.finditer(r" (?:is followed by|is|are|follows) ", one):
        if other.startswith(one[: verb.end()]):
            found = re.match(rf"(?P<wording>.{{{verb.end() - 1}}}) (?P<object>.+)", one)
    return found


def _object_after(wording: str, prompt: str, field: str) -> str:
    if not prompt.startswith(f"{wording} "):
        raise DataError(f"{field} must begin with {wording!r}, found {prompt!r}")
    return prompt.removeprefix(f"{wording} ").removesuffix(".")


_SUBJECT = (
    r"which (.+) (?:is associated with|is part of|is a member of|plays in|is the capital of) is$",
    r"the award (.+) won is$",
    r"The number of children (.+) has is$",
    r"^(.+) (?:follows|is followed by)$",
)
"""Wordings of RippleEdits in which the subject does not come after the relation's name."""


def _subject_of(wording: str, relation: str) -> str:
    """The subject, which RippleEdits names by its id only: after the relation's name, or where a wording has it."""
    name = re.escape(relation.replace("_", " "))
    own = (rf"\b{name}s?(?: city)? (?:of|in) (.+) (?:is|are)$", r" (?:of|in) (.+) (?:is|are)$")
    for pattern in (*_SUBJECT, *own):
        found = re.search(pattern, wording, re.IGNORECASE)
        if found:
            return found[1]
    raise DataError(f"edit.prompt: no subject was found in {wording!r} (relation {relation})")


def _asked(tests: tuple[RippleTest, ...]) -> Prompts:
    """(prompt, first answer) of the tests' questions; those without an answer are left out."""
    return tuple(
        (query.prompt, query.answers[0].value)
        for test in tests
        for query in test.test_queries
        if query.answers and query.answers[0].value.strip()
    )


class WikiBigEdit(Shape):
    """A question and its answer from two snapshots of Wikidata."""

    update: Text
    subject: Text
    ans: Text
    rephrase: str | None = None
    personas: str | None = None
    loc: str | None = None
    loc_ans: str | None = None
    mhop: str | None = None
    mhop_ans: str | None = None
    relation: str | None = None

    def records(self, number: str) -> list[Record]:
        return [
            Record(
                request_of(number, self.update, self.subject, self.ans),
                paraphrases=tuple(text for text in (self.rephrase, self.personas) if text and text.strip()),
                neighbours=_pairs((self.loc, self.loc_ans)),
                consequences=_pairs((self.mhop, self.mhop_ans)),
                relation=self.relation or "",
            )
        ]


class QaLocality(Shape):
    """A question whose answer must not change."""

    loc: Text
    loc_ans: Text


class QaEdit(Shape):
    """A question of a question-answering benchmark that models answer wrongly."""

    prompt: Text
    target: Text
    subject: Text
    locality: Annotated[tuple[QaLocality, ...], Field()]
    id: Id | None = None
    source: str | None = None
    rephrase: str | None = None

    def records(self, number: str) -> list[Record]:
        name = f"{self.source or 'QAEdit'} {self.id}" if self.id is not None else number
        return [
            Record(
                request_of(name, self.prompt, self.subject, self.target),
                paraphrases=(self.rephrase,) if self.rephrase and self.rephrase.strip() else (),
                neighbours=tuple((one.loc, one.loc_ans) for one in self.locality),
            )
        ]


def _pairs(*pairs: tuple[Any, Any]) -> Prompts:
    return tuple((prompt, answer) for prompt, answer in pairs if prompt and answer)
