"""kbsync's own format, CounterFact, zsRE and MQuAKE as pydantic models; each yields records."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from editing.datasets.record import Record
from editing.errors import DataError
from editing.requests import PLACEHOLDER, EditRequest

Text = Annotated[str, StringConstraints(strict=True, pattern=r"\S")]
"""A text that is not blank."""


def _id_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(lambda value: _id_text(value))]


class Shape(BaseModel):
    """An entry of a file; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True)


class Neighbour(Shape):
    """A fact that should not change: a rendered prompt, and its answer."""

    prompt: Text
    target: Text


class Line(Shape):
    """A fact in kbsync's own format."""

    subject: Text
    prompt: Text
    target: Text
    id: Id | None = None
    previous: Text | None = None
    paraphrases: tuple[Text, ...] = ()
    questions: tuple[Text, ...] = ()
    neighbours: tuple[Neighbour, ...] = Field((), validation_alias=AliasChoices("neighbours", "neighbors"))

    def records(self, number: str) -> list[Record]:
        kept = tuple((item.prompt, item.target) for item in self.neighbours)
        request = request_of(self.id or number, self.prompt, self.subject, self.target)
        questions = tuple(template_of(question, self.subject, "question") for question in self.questions)
        return [Record(request, self.previous, self.paraphrases, kept, questions=questions)]


class Labelled(Shape):
    """How CounterFact and MQuAKE name an object."""

    str: Text


class Rewrite(Shape):
    """The edit itself, in CounterFact and MQuAKE."""

    prompt: Text
    target_new: Labelled
    target_true: Labelled
    subject: Text
    question: Text | None = None
    relation_id: str | None = None


class CounterFact(Shape):
    requested_rewrite: Rewrite
    case_id: Id | None = None
    paraphrase_prompts: tuple[Text, ...] = ()
    neighborhood_prompts: tuple[Text, ...] = ()
    generation_prompts: tuple[Text, ...] = ()
    reference_texts: tuple[Text, ...] = ()

    def records(self, number: str) -> list[Record]:
        rewrite, true = self.requested_rewrite, self.requested_rewrite.target_true.str
        return [
            Record(
                request_of(self.case_id or number, rewrite.prompt, rewrite.subject, rewrite.target_new.str),
                previous=true,
                paraphrases=self.paraphrase_prompts,
                neighbours=tuple((prompt, true) for prompt in self.neighborhood_prompts),
                generation=self.generation_prompts,
                relation=rewrite.relation_id or "",
                references=self.reference_texts,
            )
        ]


class Mquake(Shape):
    """A chain of edits, each with its question as a paraphrase, and questions whose answer follows from the chain."""

    requested_rewrite: Annotated[tuple[Rewrite, ...], Field(min_length=1)]
    case_id: Id | None = None
    questions: tuple[Text, ...] = ()
    new_answer: Text | None = None

    def records(self, number: str) -> list[Record]:
        case = self.case_id or number
        follows = tuple((q, self.new_answer) for q in self.questions) if self.new_answer else ()
        last = len(self.requested_rewrite)
        return [
            Record(
                request_of(f"{case}.{index}", rewrite.prompt, rewrite.subject, rewrite.target_new.str),
                previous=rewrite.target_true.str,
                paraphrases=(rewrite.question,) if rewrite.question else (),
                consequences=follows if index == last else (),
                relation=rewrite.relation_id or "",
            )
            for index, rewrite in enumerate(self.requested_rewrite, start=1)
        ]


class Zsre(Shape):
    """A zsRE entry, read as in the released evaluation: the first of `answers` is the target, and specificity is
    tested with `loc` as it stands in the file ("nq question: …") followed by a question mark."""

    src: Text
    subject: Text
    answers: Annotated[tuple[Text, ...], Field(min_length=1)]
    case_id: Id | None = None
    rephrase: str | None = None
    loc: str | None = None
    loc_ans: str | None = None

    def records(self, number: str) -> list[Record]:
        return [
            Record(
                request_of(self.case_id or number, self.src, self.subject, self.answers[0]),
                paraphrases=(self.rephrase,) if self.rephrase else (),
                neighbours=((f"{self.loc}?", self.loc_ans),) if self.loc and self.loc_ans else (),
            )
        ]


def request_of(id: str, prompt: str, subject: str, target: str) -> EditRequest:
    """The edit request; a prompt that contains the subject as text is turned into a template."""
    return EditRequest(id, template_of(prompt, subject, "prompt").rstrip(), subject, target.strip())


def template_of(text: str, subject: str, what: str) -> str:
    """`text` with one `{}`, which replaces the subject if it is there as text; raises DataError."""
    if PLACEHOLDER not in text:
        if subject not in text:
            raise DataError(f"{what} {text!r} contains neither {PLACEHOLDER} nor its subject {subject!r}")
        text = text.replace(subject, PLACEHOLDER, 1)
    if text.count(PLACEHOLDER) != 1:
        raise DataError(f"{what} {text!r} must contain {PLACEHOLDER} exactly once")
    return text
