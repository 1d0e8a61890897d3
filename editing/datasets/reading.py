"""Reading a file of facts, whose format is recognised by its contents, not by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from editing.datasets.published import QaEdit, RippleEdit, WikiBigEdit
from editing.datasets.record import Record
from editing.datasets.shapes import CounterFact, Line, Mquake, Zsre
from editing.errors import DataError, NoSuchFile

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


ByKey = tuple[tuple[str, type[Zsre | RippleEdit | WikiBigEdit | QaEdit]], ...]
_BY_KEY: ByKey = (("src", Zsre), ("edit", RippleEdit), ("update", WikiBigEdit), ("locality", QaEdit))
"""Key that only one format has → the format."""


def _shape_of(
    item: dict[str, Any],
) -> type[Line | CounterFact | Mquake | Zsre | RippleEdit | WikiBigEdit | QaEdit]:
    if "requested_rewrite" in item:
        return Mquake if isinstance(item["requested_rewrite"], list) else CounterFact
    return next((shape for key, shape in _BY_KEY if key in item), Line)


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
