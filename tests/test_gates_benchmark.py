"""The benchmark of the gates: what it writes, what it calls a fault, and a small edition of it from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chat_tables import filled
from benchmarks.gates import GOOD, QUICK_GOOD, faults, kept, left, plot, result, tasks
from benchmarks.gates_mutants import MUTANTS
from benchmarks.gates_tables import PAGE, RESULTS, matrix, tables
from benchmarks.gates_world import INTEGRITY, WRITER
from kbsync.gates import DEFAULT_GATES

ROOT = Path(__file__).parents[1]


def found(caught: bool = True, alarms: int = 0) -> dict[str, Any]:
    """A result in which every mutant is caught, or none, and so many of twenty good candidates are rejected."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("good", {"number": number, "home": "world", "caught_by": ["efficacy"] if number < alarms else []})
        for number in reversed(range(20))
    ]
    for one in reversed(MUTANTS):
        expected = sorted(one.expected)
        row = {"kind": one.kind, "what": one.what, "expected": expected}
        rows.append(("mutant", row | {"caught_by": expected if caught else ["fluency"]}))
    return result(rows, 12.3)


def test_the_result_has_the_form_that_others_rely_on() -> None:
    written = json.loads(json.dumps(found(alarms=1)))
    assert [row["kind"] for row in written["mutants"]] == [one.kind for one in MUTANTS]
    assert all(row["caught_by"] and isinstance(row["caught_by"], list) for row in written["mutants"])
    assert (written["good"]["runs"], written["good"]["alarms"]) == (20, 1)


def test_there_are_enough_kinds_and_each_names_gates_that_exist() -> None:
    kinds = [one.kind for one in MUTANTS]
    assert len(set(kinds)) == len(kinds) >= 15
    exist = {gate.name for gate in DEFAULT_GATES if gate.enabled} | {WRITER, INTEGRITY}
    assert all(one.expected and one.expected <= exist for one in MUTANTS)


def test_a_mutant_that_only_other_gates_catch_and_a_second_false_alarm_are_faults() -> None:
    assert faults(found()) == faults(found(alarms=1)) == []
    missed = faults(found(caught=False))
    assert len(missed) == len([one for one in MUTANTS if "fluency" not in one.expected])
    assert faults(found(alarms=2)) == ["2 of 20 good candidates are rejected"]


def test_a_resumed_run_measures_only_what_its_file_has_not(tmp_path: Path) -> None:
    file = tmp_path / "gates.json"
    assert kept(file) == ([], 0.0)
    file.write_text(json.dumps(found()), encoding="utf-8")
    rows, seconds = kept(file)
    assert (len(rows), seconds) == (len(MUTANTS) + 20, 12)
    full, quick = tasks(MUTANTS, GOOD), tasks(MUTANTS, QUICK_GOOD)
    assert left(full, []) == full
    assert left(quick, rows) == [("good", "chat", number) for number in range(QUICK_GOOD["chat"])]
    assert len(left(full, rows)) == sum(GOOD.values()) - 20


def test_candidates_that_are_wrong_only_in_a_conversation_are_made_of_a_chat_model() -> None:
    assert {one.kind for one in MUTANTS if one.home == "chat"} == {"only_as_completion", "refusals_lost"}


def test_the_matrix_marks_the_gate_that_should_catch_a_kind(tmp_path: Path) -> None:
    lines = matrix(found()).splitlines()
    row = next(line for line in lines if line.startswith(f"| {MUTANTS[0].what} |"))
    assert row.count("●") == len(MUTANTS[0].expected)
    assert lines[-1].startswith("Of 20 good candidates, 0 were rejected")
    plot(found(), tmp_path / "matrix.svg")
    assert (tmp_path / "matrix.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_the_measured_tables_of_the_page_are_those_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, tables()), "run `python -m benchmarks.gates_tables`"


def test_the_kept_result_has_no_fault() -> None:
    kept = json.loads((RESULTS / "gates.json").read_text(encoding="utf-8"))
    assert faults(kept) == []
    assert kept["good"]["runs"] >= 20
    assert {row["kind"] for row in kept["mutants"]} == {one.kind for one in MUTANTS}


@pytest.mark.slow
def test_a_few_mutants_are_made_and_caught_from_end_to_end(tmp_path: Path) -> None:
    kinds = ("one_swapped", "old_lost", "stale_live", "overflow_stored", "embedding_row")
    file = tmp_path / "gates.json"
    command = [
        sys.executable,
        "benchmarks/gates.py",
        "--json",
        str(file),
        "--only",
        *kinds,
        "--processes",
        "1",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    written = json.loads(file.read_text(encoding="utf-8"))
    assert sorted(row["kind"] for row in written["mutants"]) == sorted(kinds)
    assert faults(written) == []
    assert file.with_suffix(".svg").exists()
