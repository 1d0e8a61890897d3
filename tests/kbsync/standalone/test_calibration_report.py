"""The report of a calibration, as far as a calibration of few facts has none of what it shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from editing.calibration.calibrate import Calibration
from editing.calibration.capacity import Capacity
from kbsync.standalone.calibrated import Calibrated
from kbsync.standalone.calibration_report import page


def calibrated(finalists: list[dict[str, Any]]) -> Calibrated:
    return Calibrated(
        base="0" * 64,
        settings={},
        scores={"before": {"S": 0.8}, "after": {"S": 0.9}},
        intervals={},
        change=None,
        kept=False,
        capacity=[],
        report="",
        file="",
        written="",
        facts={"known": 300, "given": 300, "edits": {"search": 24, "check": 60, "test": 60}, "left_out": {}},
        trials=[],
        finalists=finalists,
        unfinished=(),
        left_out=[],
        failing={},
        capacity_facts=None,
        seconds=1.0,
    )


def report(finalists: list[dict[str, Any]]) -> str:
    found = SimpleNamespace(capacity=Capacity(None, 0, ()), left_out=(), trials=())
    return page(cast(Calibration, found), calibrated(finalists), {})


def test_finalists_are_listed_with_how_far_they_are_behind_the_best() -> None:
    text = report(
        [
            {"changed": {"lam": 392.0}, "facts": 264, "S": 0.98794, "behind": 0.0, "error": 0.0},
            {"changed": {"clamp": 1.5}, "facts": 264, "S": 0.99124, "behind": 0.0224, "error": 0.0312},
        ]
    )
    assert "<h2>Finalists</h2>" in text
    for shown in ("<td>0.9879", "<td>0.9912", "<td>0.022", "<td>0.031", "{&#39;clamp&#39;: 1.5}"):
        assert shown in text


def test_without_finalists_the_report_has_no_table_of_them() -> None:
    assert "Finalists" not in report([])
