"""Reports of earlier versions are read; what cannot be a report is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.cost import Cost
from editing.errors import SpecError
from editing.spec import BuildReport, FactReport

FIRST_FACT = {
    "id": "7",
    "known": False,
    "base_answer": "Rome",
    "answer": "Paris",
    "efficacy": True,
    "alone": True,
    "paraphrases": [True, False],
    "neighbours": [True],
    "same_subject": [],
    "generated": False,
    "live_answer": None,
    "p_new": 0.5,
    "p_old": 0.25,
    "group": "key",
    "probes": [
        {"kind": "neighbour", "prompt": "France:", "expected": "Paris", "answer": "Paris", "passed": True}
    ],
}
FIRST_REPORT: dict[str, Any] = {
    "run": "7-1",
    "base_digest": "base",
    "checkpoint": "out",
    "checkpoint_digest": "digest",
    "facts": [FIRST_FACT, {**FIRST_FACT, "id": "8", "efficacy": None, "paraphrases": [], "generated": None}],
    "measures": [],
    "cost": {"groups_optimised": 1},
    "versions": {},
    "failures": [],
    "spec_digest": "spec",
    "version": 1,
}


def test_a_report_of_the_first_version_is_read_with_its_outcomes_by_measure(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(FIRST_REPORT), encoding="utf-8")
    first, second = BuildReport.read(tmp_path / "report.json").facts
    assert first.outcomes == {
        "efficacy": (True,),
        "paraphrase": (True, False),
        "neighbourhood": (True,),
        "generation": (False,),
    }
    assert (first.efficacy, first.alone, first.p_old) == (True, True, 0.25)
    assert second.outcomes == {"neighbourhood": (True,)}


def test_a_report_is_read_as_it_was_written_whatever_its_measures_are_called(tmp_path: Path) -> None:
    fact = FactReport("7", False, "Rome", "Paris", True, outcomes={"a measure of tomorrow": (True, False)})
    report = BuildReport("7-1", "base", "out", "digest", (fact,), (), Cost(), {})
    report.write(tmp_path / "report.json")
    assert BuildReport.read(tmp_path / "report.json") == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "has version 3"),
        ({"facts": [5]}, "expected an object"),
        ({"facts": 5}, "expected tuple"),
        ({"facts": [{**FIRST_FACT, "paraphrases": "yes"}]}, "expected bool"),
    ],
)
def test_what_is_no_report_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({**FIRST_REPORT, **change}), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        BuildReport.read(tmp_path / "report.json")
