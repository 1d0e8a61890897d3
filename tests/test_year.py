"""The benchmark of a year: what it measures, and that the page about retention has its figures and its policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.year import PARTS, POLICIES, RESULTS, Life, growth, kept, lived, plot, table
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
SHORT = ("events", "observations", "reports", "checkpoints", "logs")


def test_under_a_policy_of_a_day_directories_and_logs_stop_growing(tmp_path: Path) -> None:
    life = Life(days=5, slots=6, changed=2, pending=4)
    days = list(lived(tmp_path / "home", dict.fromkeys(SHORT, "1d"), life))
    assert [day["states"] for day in days] == [{"deployed": number} for number in range(1, 6)]
    assert all(day[part] > 0 for day in days for part in PARTS.keys() - {"archive"})
    assert days[-1]["logs"] < 1.2 * days[1]["logs"]
    assert days[-1]["runs"] < 1.2 * days[1]["runs"], "what built live and the checkpoint before it"
    assert days[-1]["events"] > days[0]["events"], "the log keeps a row for everything that happened"
    assert days[-1]["stated"] == 6 + 4 * 2


def test_growth_is_that_of_the_last_quarter() -> None:
    rows = [{"day": day, "flat": 7, "steady": 3 * day, "late": max(0, day - 75)} for day in range(1, 101)]
    assert [growth(rows, part) for part in ("flat", "steady", "late")] == [0, 3, 1]


def test_the_table_on_the_page_is_that_of_the_results(tmp_path: Path) -> None:
    found = kept(json.loads((RESULTS / "year.json").read_bytes()))
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(POLICIES, 365)
    assert table(found).splitlines() == (RESULTS / "year.md").read_text(encoding="utf-8").splitlines()[2:]
    assert table(found).partition("\n\n")[2] in PAGE
    plot(found, tmp_path / "year.svg")
    assert (tmp_path / "year.svg").read_text(encoding="utf-8").count("<path") > 20


@pytest.mark.parametrize(("kind", "period"), POLICIES["as recommended"].items())
def test_the_recommended_policy_is_that_of_the_page(kind: str, period: str) -> None:
    assert f'    {kind} = "{period}"' in PAGE
