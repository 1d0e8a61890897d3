"""`kbsync bench`: its files, and that nothing is computed twice, on a tiny model that was taught a facts file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kbsync.cli import benching, main
from kbsync.experiments.measuring import Bench, EditTrial
from kbsync.experiments.registry import EXPERIMENTS
from kbsync.experiments.scaling import sizes
from kbsync.experiments.scores import TrialScores


@pytest.fixture
def model(taught_model: Path) -> Path:
    return taught_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all: what one experiment measured, another uses."""
    return tmp_path_factory.mktemp("home")


def bench(name: str, model: Path, home: Path, out: Path, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(
            ["--home", str(home), "bench", name, "--quick", "--model", str(model), "--editors", "memit",
             "--facts", str(model.parent / "facts.jsonl"), "--corpus", str(model.parent / "text.txt"),
             "--heldout", str(model.parent / "text.txt"), "--out", str(out), *more]
        )  # fmt: skip
    return int(ended.value.code or 0)


def content(out: Path, name: str) -> Any:
    return json.loads((out / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_scaling_writes_a_plot_a_table_and_json_that_says_what_it_was_measured_with(
    model: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("scaling", model, home, tmp_path, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert sorted(Path(file).name for file in printed["files"]) == [
        "scaling.json",
        "scaling.md",
        "scaling.png",
    ]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    found = content(tmp_path, "scaling")
    assert found.keys() >= {"model", "data", "seeds", "machine", "versions", "settings", "results", "quick"}
    assert found["model"]["digest"]
    assert found["model"]["name"] == model.name
    assert found["machine"]["cores"]
    points = {(one["line"], one["at"]): one for one in found["results"]}
    assert [at for line, at in points if line == "memit"] == sizes(12, quick=True)
    edited = points["memit", 3]
    assert len(edited["by_fact"][0]["rows"]) == 3
    assert edited["measures"]["ES"]["value"] > points["unedited", 10]["measures"]["ES"]["value"]
    assert edited["measures"].keys() >= {"said", "negation", "long_prefix"}
    assert edited["models"][0]["kl_p99"] > 1e-4
    assert points["unedited", 10]["models"][0]["kl_p99"] == pytest.approx(0, abs=1e-6)
    page = (tmp_path / "scaling.md").read_text(encoding="utf-8")
    assert "| memit | 3 |" in page
    assert "| editor | n | said |" in page
    assert found["model"]["digest"][:12] in page


@pytest.mark.slow
def test_an_interrupted_experiment_carries_on_and_a_second_run_computes_nothing(
    model: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    real = Bench._scores

    def stops(self: Bench, trial: EditTrial) -> TrialScores:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(len(trial.cases))
        return real(self, trial)

    monkeypatch.setattr(Bench, "_scores", stops)
    assert bench("ablations", model, home, tmp_path) != 0
    assert not list(tmp_path.iterdir())  # nothing half-written
    first = list(measured)

    def counts(self: Bench, trial: EditTrial) -> TrialScores:
        measured.append(len(trial.cases))
        return real(self, trial)

    monkeypatch.setattr(Bench, "_scores", counts)
    assert bench("ablations", model, home, tmp_path) == 0
    assert measured[:2] == first
    whole = len(measured)
    before = content(tmp_path, "ablations")["results"]
    assert bench("ablations", model, home, tmp_path) == 0
    assert len(measured) == whole
    assert content(tmp_path, "ablations")["results"] == before


@pytest.mark.parametrize("name", ["table", "categories", "mixtures", "editors", "stars"])
def test_every_other_experiment_writes_its_files(name: str, model: Path, home: Path, tmp_path: Path) -> None:
    assert bench(name, model, home, tmp_path) == 0
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".md", ".png"}
    assert content(tmp_path, name)["experiment"] == name


def test_an_unknown_experiment_or_editor_is_named_with_those_that_exist(
    model: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("scale", model, home, tmp_path) == 2
    assert "choose one of scaling, table" in " ".join(capsys.readouterr().err.split())
    assert bench("scaling", model, home, tmp_path, "--editors", "other") != 0
    assert "no editor is named 'other'" in " ".join(capsys.readouterr().err.split())


def test_the_help_names_every_experiment() -> None:
    assert ", ".join(EXPERIMENTS) == benching.NAMES


def test_the_sizes_are_those_of_the_paper() -> None:
    assert sizes(10_000) == [1, 2, 3, 6, 10, 18, 32, 56, 100, 178, 316, 562, 1000, 1778, 3162, 5623, 10000]
    assert sizes(40) == [1, 2, 3, 6, 10, 18, 32]
    assert sizes(1_000, quick=True) == [1, 3, 10, 32, 100]


def test_retrieval_is_compared_with_the_editors_without_an_edit(
    model: Path, home: Path, tmp_path: Path
) -> None:
    assert bench("editors", model, home, tmp_path, "--editors", "retrieval") == 0
    (row,) = (row for row in content(tmp_path, "editors")["results"] if row["editor"] == "retrieval")
    assert (row["error"], row["reuse"]) == ("", "fact")
    for one in row["by_fact"]:
        assert one["weight_growth"] == 1.0
        assert one["perplexity_ratio"] == pytest.approx(1.0)
        assert one["facts"]
