"""Reading facts to edit from files: JSON lines, CounterFact, zsRE, MQuAKE.

The format of a file is recognised by its contents, not by its name:

    lines         {"subject": "Italy", "prompt": "The capital of {} is", "target": "Rome"}, one per line, with
                  optional id, previous, paraphrases and questions (texts), neighbours ({"prompt": …, "target": …}); or
                  ["Italy", "The capital of {} is", "Rome"]
    CounterFact   a JSON list of objects with `requested_rewrite` (Meng et al. 2022)
    zsRE          a JSON list of objects with `src`, `subject`, `answers`, … (Mitchell et al. 2021)
    MQuAKE        a JSON list of objects whose `requested_rewrite` is a list (Zhong et al. 2023)

Each format is a pydantic model below; an error names the line or entry, the field, and what is expected
there.  Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import from_json

from editing.errors import DataError, NoSuchFile
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
        request = _request(self.id or number, self.prompt, self.subject, self.target)
        questions = tuple(_template(question, self.subject, "question") for question in self.questions)
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


class CounterFact(Shape):
    requested_rewrite: Rewrite
    case_id: Id | None = None
    paraphrase_prompts: tuple[Text, ...] = ()
    neighborhood_prompts: tuple[Text, ...] = ()
    generation_prompts: tuple[Text, ...] = ()

    def records(self, number: str) -> list[Record]:
        rewrite, true = self.requested_rewrite, self.requested_rewrite.target_true.str
        return [
            Record(
                _request(self.case_id or number, rewrite.prompt, rewrite.subject, rewrite.target_new.str),
                previous=true,
                paraphrases=self.paraphrase_prompts,
                neighbours=tuple((prompt, true) for prompt in self.neighborhood_prompts),
                generation=self.generation_prompts,
            )
        ]


class Mquake(Shape):
    """A chain of edits; only the edits are read, each with its question as a paraphrase."""

    requested_rewrite: Annotated[tuple[Rewrite, ...], Field(min_length=1)]
    case_id: Id | None = None

    def records(self, number: str) -> list[Record]:
        case = self.case_id or number
        return [
            Record(
                _request(f"{case}.{index}", rewrite.prompt, rewrite.subject, rewrite.target_new.str),
                previous=rewrite.target_true.str,
                paraphrases=(rewrite.question,) if rewrite.question else (),
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
                _request(self.case_id or number, self.src, self.subject, self.answers[0]),
                paraphrases=(self.rephrase,) if self.rephrase else (),
                neighbours=((f"{self.loc}?", self.loc_ans),) if self.loc and self.loc_ans else (),
            )
        ]


@dataclass(frozen=True, slots=True)
class Record:
    """One fact to edit, with the prompts used to judge it, all rendered."""

    request: EditRequest
    previous: str | None = None
    """The previous object (o_c of the paper)."""
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) of facts that should not change."""
    generation: tuple[str, ...] = ()
    """Prompts for free generation about the subject."""
    questions: tuple[str, ...] = ()
    """Templates of questions whose answer is the target; a model with a chat template is asked them, and edited with
    the first."""
    relation: str = ""
    """What relation the fact has, if the data set says so; mixtures and categories go by it."""
    references: tuple[str, ...] = ()
    """Texts about subjects that truly have the new object, which generated text is compared with (RS)."""


EXAMPLE = '{"subject": "France", "prompt": "The capital of {} is", "target": "Paris"}'


def read_records(path: Path, limit: int | None = None) -> list[Record]:
    """The records of a file, at most `limit`; raises DataError naming file, entry, field and expected value."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NoSuchFile(f"there is no file {path}: name a file of facts") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    records: dict[str, Record] = {}
    for number, (where, item) in enumerate(_items(path, text), start=1):
        for record in _records(item, where, str(number)):
            if limit is not None and len(records) == limit:
                return list(records.values())
            if record.request.id in records:
                raise DataError(f"{where}: id {record.request.id!r} occurs twice; ids must differ")
            records[record.request.id] = record
    if not records:
        raise DataError(f"{path} contains no facts: write one object a line, such as {EXAMPLE}")
    return list(records.values())


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """(place, parsed entry), from a JSON list, from one object over several lines, or from lines."""
    whole, why = _parsed(text)
    if isinstance(whole, list) and whole and isinstance(whole[0], dict | list):
        for number, item in enumerate(whole):
            yield f"{path}, entry {number}", item
        return
    if isinstance(whole, dict):
        yield f"{path}, line 1", whole
        return
    # Not `splitlines`, which splits at characters that JSON allows within a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        item, error = _parsed(line)
        if error and number == 1 and line.strip() in ("[", "{", "[{") and "\n" in text.strip():
            # It begins a document over several lines.
            raise DataError(f"{path}: not JSON ({why}); write a list of objects, or one object a line")
        if error:
            raise DataError(
                f"{path}, line {number}: not JSON ({error}); write one object a line, such as {EXAMPLE}"
            )
        yield f"{path}, line {number}", item


def _parsed(text: str) -> tuple[Any, str]:
    """(the parsed JSON, why it is not JSON), one of them empty."""
    try:
        return from_json(text), ""
    except ValueError as error:
        return None, str(error)


def _records(item: Any, where: str, number: str) -> list[Record]:
    if isinstance(item, list) and len(item) == 3:
        item = dict(zip(("subject", "prompt", "target"), item, strict=True))
    if not isinstance(item, dict):
        raise DataError(f"{where}: expected an object or [subject, prompt, target], found {item!r:.60}")
    try:
        return _shape_of(item).model_validate(item).records(number)
    except ValidationError as error:
        raise DataError(f"{where}: {_complaint(error)}") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _shape_of(item: dict[str, Any]) -> type[Line | CounterFact | Mquake | Zsre]:
    if "requested_rewrite" in item:
        return Mquake if isinstance(item["requested_rewrite"], list) else CounterFact
    return Zsre if "src" in item else Line


_EXPECTED = {
    "model_type": "an object",
    "string_type": "a text",
    "string_pattern_mismatch": "a text that is not empty",
    "tuple_type": "a list",
    "too_short": "a list that is not empty",
}


def _complaint(error: ValidationError) -> str:
    """pydantic's first error: the field, what is expected there, and what was found."""
    first = error.errors(include_url=False)[0]
    place = _place(first["loc"])
    if first["type"] == "missing":
        inside = f" in {_place(first['loc'][:-1])}" if len(first["loc"]) > 1 else ""
        return f"{str(first['loc'][-1])!r} is missing{inside}"
    expected = _EXPECTED.get(first["type"], first["msg"])
    if first["loc"][0] in ("neighbours", "neighbors") and len(first["loc"]) == 2:
        expected = 'an object such as {"prompt": "The capital of Peru is", "target": "Lima"}'
    verb = "must be" if first["type"] in _EXPECTED else "is wrong:"
    return f"{place} {verb} {expected}, found {first['input']!r:.60}"


def _place(loc: Sequence[str | int]) -> str:
    """The path of a field, such as `neighbours[0].prompt`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _request(id: str, prompt: str, subject: str, target: str) -> EditRequest:
    """The edit request; a prompt that contains the subject as text is turned into a template."""
    return EditRequest(id, _template(prompt, subject, "prompt").rstrip(), subject, target.strip())


def _template(text: str, subject: str, what: str) -> str:
    """`text` with one `{}`, which replaces the subject if it is there as text; raises DataError."""
    if PLACEHOLDER not in text:
        if subject not in text:
            raise DataError(f"{what} {text!r} contains neither {PLACEHOLDER} nor its subject {subject!r}")
        text = text.replace(subject, PLACEHOLDER, 1)
    if text.count(PLACEHOLDER) != 1:
        raise DataError(f"{what} {text!r} must contain {PLACEHOLDER} exactly once")
    return text
