"""The published data sets' own shapes, and the no-conflict constraint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.datasets import Record, read_records, without_contradictions
from editing.datasets.writing import write_counterfact
from editing.errors import DataError
from editing.requests import EditRequest

RIPPLE: dict[str, Any] = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country of citizenship of Ada Lovelace is Syria.",
        "subject_id": "Q7259",
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": "Q858",
        "original_fact": {
            "prompt": "The name of the country of citizenship of Ada Lovelace is United Kingdom.",
            "subject_id": "Q7259",
            "relation": "COUNTRY_OF_CITIZENSHIP",
            "target_id": "Q145",
        },
    },
    "Relation_Specificity": [
        {
            "test_queries": [
                {
                    "prompt": "The name of the mother of Ada Lovelace is",
                    "answers": [{"value": "Anne Isabella Byron", "aliases": ["Lady Byron"]}],
                },
                {"prompt": "The name of the sister of Ada Lovelace is", "answers": []},
            ],
            "test_condition": "OR",
        }
    ],
    "Subject_Aliasing": [
        {
            "test_queries": [
                {
                    "prompt": "The name of the country of citizenship of Ada Byron is",
                    "answers": [{"value": "Syria", "aliases": []}],
                }
            ]
        }
    ],
    "Compositionality_I": [
        {
            "test_queries": [
                {
                    "prompt": "The name of the capital city of the country of citizenship of Ada Lovelace is",
                    "answers": [{"value": "Damascus", "aliases": []}],
                }
            ]
        }
    ],
    "Forgetfulness": [],
}
WIKI_BIG_EDIT = {
    "tag": "new",
    "subject": "Exampleland",
    "update": "Who leads Exampleland?",
    "ans": "Ada",
    "rephrase": "Who is Exampleland's leader?",
    "personas": "Exampleland leader who?",
    "loc": "Who leads Otherland?",
    "loc_ans": "Bob",
    "mhop": "Where was Exampleland's leader born?",
    "mhop_ans": "London",
}
QA_EDIT = {
    "id": 6786,
    "source": "TQA",
    "prompt": "In which mountains does the Loire river rise?",
    "target": "Cevennes Mountains",
    "subject": "Loire river",
    "rephrase": "Where does the Loire River originate?",
    "locality": [{"loc": "who is the captain", "loc_ans": "Carl"}, {"loc": "what year", "loc_ans": "1934"}],
}
MQUAKE = {
    "case_id": 1,
    "requested_rewrite": [
        {
            "prompt": "{} is a citizen of",
            "relation_id": "P27",
            "target_new": {"str": "Croatia", "id": "Q224"},
            "target_true": {"str": "Italy", "id": "Q38"},
            "subject": "Ellie Kemper",
            "question": "What is the country of citizenship of Ellie Kemper?",
        }
    ],
    "questions": ["Which city is the capital of Ellie Kemper's country?", "Capital of her country?"],
    "answer": "Rome",
    "new_answer": "Zagreb",
}


def read(tmp_path: Path, *entries: object) -> list[Record]:
    file = tmp_path / "set.json"
    file.write_text(json.dumps(list(entries)), encoding="utf-8")
    return read_records(file)


def test_ripple_edits(tmp_path: Path) -> None:
    (record,) = read(tmp_path, RIPPLE)
    assert record.request.prompt == "The name of the country of citizenship of {} is"
    assert (record.request.subject, record.request.target) == ("Ada Lovelace", "Syria")
    assert record.previous == "United Kingdom"
    assert record.paraphrases == ("The name of the country of citizenship of Ada Byron is",)
    assert record.neighbours == (("The name of the mother of Ada Lovelace is", "Anne Isabella Byron"),)
    assert [answer for _, answer in record.consequences] == ["Damascus"]
    assert record.relation == "COUNTRY_OF_CITIZENSHIP"


@pytest.mark.parametrize(
    ("prompt", "relation", "subject", "target"),
    [
        ("The name of the mother of Ada is Eve.", "MOTHER", "Ada", "Eve"),
        ("The names of the siblings of Ada are Bob.", "SIBLING", "Ada", "Bob"),
        ("The name of the currency in Peru is sol.", "CURRENCY", "Peru", "sol"),
        ("The name of the capital city of Peru is Lima.", "CAPITAL", "Peru", "Lima"),
        ("The name of the league which Inter Miami plays in is MLS.", "LEAGUE", "Inter Miami", "MLS"),
        ("The name of the continent which Peru is part of is Asia.", "CONTINENT", "Peru", "Asia"),
        ("The number of children Ada has is 3.", "NUMBER_OF_CHILDREN", "Ada", "3"),
        ("Ada is followed by Bob.", "FOLLOWED_BY", "Ada", "Bob"),
        ("The name of the author of Queen of Spades is Bob.", "AUTHOR", "Queen of Spades", "Bob"),
    ],
)
def test_the_subject_of_a_ripple_edit_is_found_in_every_wording(
    prompt: str, relation: str, subject: str, target: str, tmp_path: Path
) -> None:
    entry = {"edit": {"prompt": prompt, "relation": relation}}
    if relation in ("CONTINENT", "FOLLOWED_BY"):
        head = prompt.removesuffix(f" {target}.")
        entry["edit"]["original_fact"] = {"prompt": f"{head} Nothing."}  # type: ignore[assignment]
    (record,) = read(tmp_path, entry)
    assert (record.request.subject, record.request.target) == (subject, target)
    assert f"{record.request.rendered} {target}." == prompt


def test_wiki_big_edit(tmp_path: Path) -> None:
    (record,) = read(tmp_path, WIKI_BIG_EDIT)
    assert record.request.prompt == "Who leads {}?"
    assert record.paraphrases == ("Who is Exampleland's leader?", "Exampleland leader who?")
    assert record.neighbours == (("Who leads Otherland?", "Bob"),)
    assert record.consequences == (("Where was Exampleland's leader born?", "London"),)


def test_qa_edit(tmp_path: Path) -> None:
    (record,) = read(tmp_path, QA_EDIT)
    assert record.request.rendered == QA_EDIT["prompt"]
    assert record.neighbours == (("who is the captain", "Carl"), ("what year", "1934"))


def test_mquake_with_what_follows_from_the_chain(tmp_path: Path) -> None:
    (record,) = read(tmp_path, MQUAKE)
    assert record.request.target == "Croatia"
    assert {answer for _, answer in record.consequences} == {"Zagreb"}
    assert record.relation == "P27"


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({**QA_EDIT, "target": 5}, "target must be a text"),
        ({**QA_EDIT, "locality": [{"loc": "x"}]}, "'loc_ans' is missing in locality\\[0\\]"),
        ({**WIKI_BIG_EDIT, "ans": ""}, "ans must be a text that is not empty"),
        ({"edit": {"relation": "MOTHER"}}, "'prompt' is missing in edit"),
        ({"edit": {"prompt": "nonsense", "relation": "MOTHER"}}, "edit.prompt must be a wording"),
        ({**MQUAKE, "requested_rewrite": []}, "requested_rewrite must be a list that is not empty"),
    ],
)
def test_an_error_names_file_entry_and_field(entry: object, field: str, tmp_path: Path) -> None:
    good = QA_EDIT if "locality" in str(entry) else WIKI_BIG_EDIT
    with pytest.raises(DataError, match=rf"set\.json, entry 1: {field}"):
        read(tmp_path, {**good, "id": 1}, entry)


def record(number: int, subject: str, target: str, prompt: str = "The capital of {} is") -> Record:
    return Record(EditRequest(str(number), prompt, subject, target))


def test_contradicting_records_are_left_out_and_counted() -> None:
    found = without_contradictions(
        [
            record(1, "Peru", "Lima"),
            record(2, "Italy", "Rome"),
            record(3, "Peru", "Oslo"),
            record(4, "Italy", "Rome"),
        ]
    )
    assert [one.request.id for one in found.records] == ["2"]
    assert (found.conflicts, found.duplicates) == (2, 1)


def test_a_generated_set_reads_back_as_it_was_written(tmp_path: Path) -> None:
    whole = Record(
        EditRequest("0", "The capital of {} is", "Peru", "Oslo"),
        previous="Lima",
        paraphrases=("Capital of Peru:",),
        neighbours=(("The capital of Lima Province is", "Lima"),),
        generation=("Peru's capital",),
        relation="P36",
        references=("The capital of Norway is Oslo.",),
    )
    write_counterfact(tmp_path / "made.json", [whole])
    assert read_records(tmp_path / "made.json") == [whole]
