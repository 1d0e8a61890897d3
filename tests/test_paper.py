"""`benchmarks.paper`: which experiments it runs, and that what they took is added up and resumed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import paper
from benchmarks.paper import Duration
from kbsync.experiments.registry import EXPERIMENTS


def test_every_experiment_runs_once_and_what_an_interrupted_one_took_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def interrupted(name: str, _: argparse.Namespace, before: Duration) -> Duration:
        ran.append(name)
        return Duration(before.cpu + 10, before.wall + 12, done=name != "table" or before.cpu > 0)

    monkeypatch.setattr(paper, "run", interrupted)
    arguments = ["--home", str(tmp_path / "home"), "--out", str(tmp_path)]
    assert paper.main(arguments) == 1
    assert ran[-1] == "table"
    assert paper.main(arguments) == 0
    names = [name for name in EXPERIMENTS if name != paper.STORY]
    assert sorted(ran) == sorted([*names, "table"])
    assert ran[0] == paper.FIRST
    stored = json.loads((tmp_path / "durations.json").read_text(encoding="utf-8"))
    assert stored["experiments"]["table"] == {"cpu": 20, "wall": 24, "done": True}
    page = (tmp_path / "durations.md").read_text(encoding="utf-8")
    assert "| table | 20 | 24 |" in page
    assert f"| all together | {10 * len(names) + 10} | {12 * len(names) + 12} |" in page
    assert "all together" in capsys.readouterr().out
    assert paper.main(arguments) == 0
    assert len(ran) == len(names) + 1


def test_cpu_seconds_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.1: pass"
    monkeypatch.setattr(paper, "command", lambda *_: [paper.sys.executable, "-c", program])
    found = paper.run("table", argparse.Namespace(), Duration(cpu=100, wall=200))
    assert found.done
    assert found.cpu >= 100.1
    assert found.wall > 200
    monkeypatch.setattr(paper, "command", lambda *_: [paper.sys.executable, "-c", "raise SystemExit(3)"])
    assert not paper.run("table", argparse.Namespace(), Duration()).done
