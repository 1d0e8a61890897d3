"""Files of facts: lines, CounterFact, zsRE, MQuAKE; every mistake is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.datasets import read_records
from editing.errors import DataError
from editing.requests import EditRequest

COUNTERFACT: list[dict[str, Any]] = [
    {
        "case_id": 0,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "relation_id": "P103",
            "target_new": {"str": "English", "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": "Danielle Darrieux",
        },
        "paraphrase_prompts": ["Danielle Darrieux, a native"],
        "neighborhood_prompts": ["The native language of Montesquieu is"],
        "generation_prompts": ["Danielle Darrieux's mother tongue is"],
    }
]
ZSRE: list[dict[str, Any]] = [
    {
        "subject": "Watts Humphrey",
        "src": "What university did Watts Humphrey attend?",
        "rephrase": "What university did Watts Humphrey take part in?",
        "alt": "University of Michigan",
        "answers": ["Illinois Institute of Technology"],
        "loc": "nq question: who played desmond doss father in hacksaw ridge",
        "loc_ans": "Hugo Weaving",
    }
]


def write(directory: Path, content: str) -> Path:
    (directory / "facts").write_text(content, encoding="utf-8")
    return directory / "facts"


def test_lines_are_objects_or_triples(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"subject": "Italy", "prompt": "The capital of {} is", "target": "Rome", "id": "it", "previous": "Turin",'
        ' "neighbours": [{"prompt": "The capital of Spain is", "target": "Madrid"}]}\n\n'
        '["France", "The capital of France is ", " Paris"]\n',
    )
    italy, france = read_records(path)
    assert italy.request == EditRequest("it", "The capital of {} is", "Italy", "Rome")
    assert italy.previous == "Turin"
    assert italy.neighbours == (("The capital of Spain is", "Madrid"),)
    assert france.request == EditRequest("2", "The capital of {} is", "France", "Paris")


def test_one_line_is_a_file_of_one_fact(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, '{"subject": "a", "prompt": "{} is", "target": "b"}'))
    assert record.request.rendered == "a is"
    (record,) = read_records(write(tmp_path, '["a", "{} is", "b"]'))
    assert record.request.rendered == "a is"


def test_facts_may_be_laid_out_over_several_lines(tmp_path: Path) -> None:
    facts = [
        {"subject": "a", "prompt": "{} is", "target": "b"},
        {"subject": "c", "prompt": "{} is", "target": "d"},
    ]
    for content, subjects in (
        (json.dumps(facts, indent=2), ["a", "c"]),
        (json.dumps(facts[0], indent=2), ["a"]),
        (json.dumps([["a", "{} is", "b"], ["c", "{} is", "d"]], indent=2), ["a", "c"]),
    ):
        assert [record.request.subject for record in read_records(write(tmp_path, content))] == subjects


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_only_where_json_lines_end(mark: str, tmp_path: Path) -> None:
    content = json.dumps(["a", "{} is", f"b{mark}c"], ensure_ascii=False) + '\r\n["d", "{} is", "e"]\r\n'
    records = read_records(write(tmp_path, content))
    assert [record.request.target for record in records] == [f"b{mark}c", "e"]


def test_counterfact(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, json.dumps(COUNTERFACT)))
    assert record.request == EditRequest("0", "The mother tongue of {} is", "Danielle Darrieux", "English")
    assert record.previous == "French"
    assert record.paraphrases == ("Danielle Darrieux, a native",)
    assert record.neighbours == (("The native language of Montesquieu is", "French"),)
    assert record.generation == ("Danielle Darrieux's mother tongue is",)


def test_zsre(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, json.dumps(ZSRE)))
    assert record.request.prompt == "What university did {} attend?"
    assert record.request.target == "Illinois Institute of Technology"
    assert record.neighbours == (
        ("nq question: who played desmond doss father in hacksaw ridge?", "Hugo Weaving"),
    )


def test_mquake(tmp_path: Path) -> None:
    rewrite = {**COUNTERFACT[0]["requested_rewrite"], "question": "Which language does she speak?"}
    case = {
        "case_id": 7,
        "requested_rewrite": [rewrite, {**rewrite, "subject": "Montesquieu"}],
        "questions": ["?"],
    }
    first, second = read_records(write(tmp_path, json.dumps([case])))
    assert (first.request.id, second.request.id) == ("7.1", "7.2")
    assert first.request.target == "English"
    assert (first.previous, first.paraphrases) == ("French", ("Which language does she speak?",))
    assert second.request.subject == "Montesquieu"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, '\ufeff["a", "{} is", "b"]'))
    assert record.request.subject == "a"


def test_neighbours_are_objects_and_may_be_spelled_the_american_way(tmp_path: Path) -> None:
    line = {
        "subject": "a",
        "prompt": "{} is",
        "target": "b",
        "neighbors": [{"prompt": "c is", "target": "d"}],
    }
    (record,) = read_records(write(tmp_path, json.dumps(line)))
    assert record.neighbours == (("c is", "d"),)


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps([f"s{i}", "{} is", "x"]) for i in range(5))
    assert [r.request.subject for r in read_records(write(tmp_path, lines), limit=2)] == ["s0", "s1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "contains no facts"),
        ("{", "line 1: not JSON"),
        ('[\n  ["a", "{} is", "b"],\n]', r"facts: not JSON \(trailing comma at line 3 column 1\)"),
        ('{\n  "subject": "a"\n  "target": "b"\n}', r"facts: not JSON \(.* at line 3 column 3\)"),
        ('{"id": true, "subject": "a", "prompt": "{} is", "target": "b"}', "id must be a text, found True"),
        ('["a", "{} is", "b"]\n{"subject": "a"}', "line 2: 'prompt' is missing"),
        ('{"subject": "a", "prompt": "b is", "target": "c"}', "contains neither {} nor its subject"),
        ('{"subject": "a", "prompt": "{} {}", "target": "c"}', "exactly once"),
        ('{"subject": "", "prompt": "{} is", "target": "c"}', "subject must be a text"),
        ('["a", "b"]', r"expected an object or \[subject, prompt, target\]"),
        (
            '["a", "{} is", "b"]\n{"id": "1", "subject": "a", "prompt": "{} was", "target": "b"}',
            "occurs twice",
        ),
        (
            json.dumps([{**COUNTERFACT[0], "requested_rewrite": {"prompt": "{}"}}]),
            "entry 0: 'target_new' is missing",
        ),
        (json.dumps([{**ZSRE[0], "answers": []}]), "entry 0: answers must be a list that is not empty"),
        (
            '{"subject": "a", "prompt": "{} is", "target": "b", "neighbours": ["The capital of Peru is"]}',
            r'line 1: neighbours\[0\] must be an object such as .*"target": "Lima".*found .The capital of Peru',
        ),
        (
            '{"subject": "a", "prompt": "{} is", "target": "b", "neighbours": [{"prompt": "c is"}]}',
            r"line 1: 'target' is missing in neighbours\[0\]",
        ),
        ('{"subject": "a", "prompt": "{} is", "target": 3}', "line 1: target must be a text, found 3"),
        (
            '{"subject": "a", "prompt": "{} is", "target": "b", "paraphrases": "c"}',
            "paraphrases must be a list",
        ),
        ('{"subject": "\\ud800", "prompt": "{} is", "target": "b"}', "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_mistakes_are_named_with_their_place(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_records(write(tmp_path, content))


def test_a_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match=r"facts.jsonl is not UTF-8 text .*: save it as UTF-8"):
        read_records(tmp_path / "facts.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_records(tmp_path / "nowhere")
