"""Reading facts to edit from files: one's own lines, CounterFact, zsRE.

A file is recognised by what it holds, not by its name:

    lines    {"subject": "Italy", "prompt": "The capital of {} is", "target": "Rome"}, one a line, with
             optional id, previous, paraphrases, neighbours; or ["Italy", "The capital of {} is", "Rome"]
    CounterFact   a JSON list of objects with `requested_rewrite` (Meng et al. 2022)
    zsRE          a JSON list of objects with `src`, `subject`, `answers`, … (Mitchell et al. 2021)

Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import DataError
from editing.requests import SLOT, EditRequest


@dataclass(frozen=True, slots=True)
class Record:
    """One fact to edit, with the prompts that judge it, all rendered."""

    request: EditRequest
    previous: str | None = None
    """What was true before (o_c of the paper)."""
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) of facts that should stay as they are."""
    generation: tuple[str, ...] = ()
    """Prompts for free generation about the subject."""


def read_records(path: Path, limit: int | None = None) -> list[Record]:
    """The records of a file, at most `limit`; raises DataError naming file, entry and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    records: list[Record] = []
    seen: set[str] = set()
    for where, item in _items(path, text):
        if limit is not None and len(records) == limit:
            break
        record = _record(item, where, str(len(records) + 1))
        if record.request.id in seen:
            raise DataError(f"{where}: id {record.request.id!r} occurs twice; ids must differ")
        seen.add(record.request.id)
        records.append(record)
    if not records:
        raise DataError(f'{path} holds no facts: write {{"subject": …, "prompt": …, "target": …}} lines')
    return records


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """(place, parsed entry): of a JSON list of objects, else of lines."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list) and whole and isinstance(whole[0], dict):
        for number, item in enumerate(whole):
            yield f"{path}, entry {number}", item
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}); write one object a line") from error


def _record(item: Any, where: str, number: str) -> Record:
    if isinstance(item, list) and len(item) == 3:
        item = dict(zip(("subject", "prompt", "target"), item, strict=True))
    if not isinstance(item, dict):
        raise DataError(f"{where}: expected an object or [subject, prompt, target], found {item!r:.60}")
    try:
        if "requested_rewrite" in item:
            return _counterfact(item, where, number)
        if "src" in item:
            return _zsre(item, where, number)
        return _line(item, where, number)
    except KeyError as error:
        raise DataError(f"{where}: {error.args[0]!r} is missing") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: of an unexpected shape ({error})") from error


def _line(item: Mapping[str, Any], where: str, number: str) -> Record:
    neighbours = tuple((pair["prompt"], pair["target"]) for pair in item.get("neighbours", ()))
    return Record(
        _request(str(item.get("id", number)), item["prompt"], item["subject"], item["target"], where),
        previous=item.get("previous"),
        paraphrases=tuple(item.get("paraphrases", ())),
        neighbours=neighbours,
    )


def _counterfact(item: Mapping[str, Any], where: str, number: str) -> Record:
    rewrite = item["requested_rewrite"]
    target, true = rewrite["target_new"]["str"], rewrite["target_true"]["str"]
    return Record(
        _request(str(item.get("case_id", number)), rewrite["prompt"], rewrite["subject"], target, where),
        previous=true,
        paraphrases=tuple(item.get("paraphrase_prompts", ())),
        neighbours=tuple((prompt, true) for prompt in item.get("neighborhood_prompts", ())),
        generation=tuple(item.get("generation_prompts", ())),
    )


def _zsre(item: Mapping[str, Any], where: str, number: str) -> Record:
    """As the released evaluation reads zsRE: the first of `answers` is edited in, and specificity is asked with
    `loc` as it stands in the file ("nq question: …") and a question mark."""
    loc = str(item.get("loc", ""))
    return Record(
        _request(str(item.get("case_id", number)), item["src"], item["subject"], item["answers"][0], where),
        paraphrases=(item["rephrase"],) if item.get("rephrase") else (),
        neighbours=((f"{loc}?", item["loc_ans"]),) if loc and item.get("loc_ans") else (),
    )


def _request(id: str, prompt: Any, subject: Any, target: Any, where: str) -> EditRequest:
    """The request, its prompt made a template if it spells the subject out."""
    for name, value in (("prompt", prompt), ("subject", subject), ("target", target)):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {name} must be a text that is not empty, found {value!r:.60}")
    if SLOT not in prompt:
        if subject not in prompt:
            raise DataError(f"{where}: prompt {prompt!r} contains neither {SLOT} nor its subject {subject!r}")
        prompt = prompt.replace(subject, SLOT, 1)
    if prompt.count(SLOT) != 1:
        raise DataError(f"{where}: prompt {prompt!r} must contain {SLOT} exactly once")
    return EditRequest(id, prompt.rstrip(), subject, target.strip())
