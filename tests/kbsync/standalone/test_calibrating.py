"""`kbsync calibrate` on a tiny model that was taught a facts file: the whole command, and carrying on with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from editing.calibration.calibrate import Calibration, CalibrationPlan, calibrate
from editing.calibration.judgement import SearchPoint
from editing.calibration.statements import from_records
from editing.datasets import read_records
from editing.progress import Progress, silent
from editing.settings import EditSettings
from editing.storage.loaded import LoadedBase, load_base
from kbsync.application import Application
from kbsync.cli import main
from kbsync.gates import DEFAULT_GATES
from kbsync.home import Home
from kbsync.queries.status import overview
from kbsync.settings.base_model import import_base
from kbsync.settings.editing import EditOverrides
from kbsync.settings.loading import load
from kbsync.standalone.calibrating import floors_of
from tests.support import taught_facts

SETTINGS = """# mine
[model]
path = "{model}"  # the model of the house

[edit]
prefixes = 1  # one is enough
steps = 6
optimiser = "lbfgs"
statistics_samples = 20
"""


ROUNDING = 1e-9
"""S is computed twice, with the sums in another order."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught_facts.save(tmp_path_factory.mktemp("taught") / "model")


@pytest.fixture
def home(tmp_path: Path, model: Path) -> Path:
    home = Home(tmp_path / "home").prepare()
    home.config.write_text(SETTINGS.format(model=model), encoding="utf-8")
    return home.root


def run(*arguments: object) -> object:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def facts_of(model: Path) -> Path:
    return model.parent / "facts.jsonl"


@pytest.mark.slow
def test_the_command_finds_settings_proves_them_and_writes_them_where_comments_stay(
    model: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "check", "--home", home) in (0, 78)  # there is no source yet
    said = " ".join(capsys.readouterr().err.split())
    assert "the base is not calibrated (its hyper-parameters are those written in [edit]" in said
    assert "`kbsync calibrate --write` finds settings for it" in said
    arguments = ["--facts", facts_of(model), "--budget", "0.1", "--home", home]
    assert run("calibrate", *arguments, "--write", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= {"base", "settings", "scores", "capacity", "report"}
    assert found["facts"]["known"] + found["facts"]["unknown"] == found["facts"]["given"] == 30
    assert {"S", "efficacy", "perplexity_ratio"} <= found["scores"]["after"].keys()
    assert found["trials"][0]["stage"] == "start"
    for name, (low, high) in found["intervals"].items():
        assert 0 <= low <= high <= 1
        assert low - ROUNDING <= found["scores"]["after"][name] <= high + ROUNDING
    _written_with_comments(home, found)
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert found["base"][:12] in page
    assert "what the home has now" in page
    assert "S" in found["intervals"]
    assert found["scores"]["before"].keys() == found["scores"]["after"].keys()
    gained = found["scores"]["after"]["S"] - found["scores"]["before"]["S"]
    assert found["change"][0] - ROUNDING <= gained <= found["change"][1] + ROUNDING
    assert {one["stage"] for one in found["left_out"]} == set(found["unfinished"])
    assert "<svg" in page
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)  # nothing is loaded from elsewhere
    app = Application(Home(home), load(home / "kbsync.toml", {}))
    try:
        assert overview(app).calibration.startswith("of 20")
    finally:
        app.close()


def _written_with_comments(home: Path, found: dict[str, Any]) -> None:
    text = (home / "kbsync.toml").read_text(encoding="utf-8")
    assert "# mine" in text
    assert "# the model of the house" in text
    assert "prefixes = 1  # one is enough" in text
    merged, own = tomllib.loads(text), tomllib.loads(Path(found["file"]).read_text(encoding="utf-8"))
    assert merged["calibration"] == own["calibration"]
    assert merged["calibration"]["base"] == found["base"]
    assert merged["edit"] == own["edit"] | {"prefixes": 1, "statistics_samples": 20}
    assert isinstance(own["edit"]["lam"], float)


def test_a_budget_that_allows_for_nothing_leaves_the_settings_in_force_and_names_what_it_left_out(
    model: Path, tmp_path: Path
) -> None:
    found = calibrated(model, Home(tmp_path / "home"), budget=1.0)
    assert [trial.stage for trial in found.trials] == ["start"]
    assert found.before == found.after
    assert found.chosen.settings == replace(found.start.settings, lam=found.after.lam)
    assert [one.stage for one in found.left_out] == ["search", "capacity"]
    assert not found.points


def test_a_calibration_of_another_base_is_said_to_be_one(
    model: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "found.toml"
    other.write_text(
        f'[edit]\nsteps = 2\nprefixes = 0\n[calibration]\nbase = "{"0" * 64}"\n', encoding="utf-8"
    )
    arguments = ["edit", facts_of(model), "--model", model, "--home", home, "--dry-run"]
    assert run(*arguments, "--settings", other) == 0
    assert "calibrated for another base (000000000000), not for" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert "the base is not calibrated" in capsys.readouterr().err


def test_bad_input_is_an_error_that_says_what_to_do(
    model: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(facts_of(model).read_text("utf-8").splitlines(keepends=True)[:4]), "utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for arguments, message in (
        (["--facts", few], "give more facts that the model knows with --facts"),
        (["--facts", tmp_path / "none.jsonl"], "there is no file"),
        (["--out", tmp_path / "found.json"], "does not end in .toml"),
        (["--budget", "0"], "--budget"),
        (["--model", tmp_path / "nothing"], "there is no model directory"),
        (["--model", elsewhere, "--write"], "--write sets the home's settings"),
    ):
        assert run("calibrate", *arguments, "--home", home) != 0
        assert message in " ".join(capsys.readouterr().err.split())


def loaded(model: Path, home: Home) -> LoadedBase:
    return load_base(import_base(model, home.prepare(), EditOverrides()).directory)


def calibrated(model: Path, home: Home, progress: Progress = silent, budget: float = 24.0) -> Calibration:
    """A calibration whose clock advances by a second whenever it is asked, so that it always tries the same."""
    settings = EditSettings(prefixes=1, steps=6, optimiser="lbfgs", statistics_samples=20)
    plan = CalibrationPlan(
        base=loaded(model, home),
        statements=from_records(read_records(facts_of(model))),
        start=SearchPoint(settings),
        floors=floors_of(DEFAULT_GATES),
        cache=home.cache,
        budget=budget,
    )
    ticks = count()
    return calibrate(plan, progress=progress, clock=lambda: float(next(ticks)))


def deltas(home: Home) -> dict[str, tuple[int, int]]:
    """Every stored δ, with what would differ if it were written again."""
    files = (home.cache / "deltas").glob("*.safetensors")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def test_an_interrupted_calibration_computes_no_delta_twice_and_ends_like_another(
    model: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")

    def interrupt(phase: str, done: int, total: int) -> None:
        if phase == "targets" and done and len(deltas(home)) > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrated(model, home, interrupt)
    before = deltas(home)
    assert before
    resumed = calibrated(model, home)
    after = deltas(home)
    assert {name: after[name] for name in before} == before
    again = calibrated(model, home)
    assert deltas(home) == after
    assert (again.chosen, again.after, again.points) == (resumed.chosen, resumed.after, resumed.points)


@pytest.mark.slow
def test_a_killed_calibration_is_carried_on_by_the_same_command(
    model: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "calibrate",
        "--facts",
        str(facts_of(model)),
        "--budget",
        "0.5",
        "--home",
        str(home),
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "kbsync", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and len(deltas(Home(home))) < 5:
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = deltas(Home(home))
    assert len(before) >= 5
    assert run(*arguments) == 0
    after = deltas(Home(home))
    assert {name: after[name] for name in before} == before
    assert json.loads(capsys.readouterr().out)["scores"]["after"]
