"""The benchmark for a GPU, tried on a CPU with a tiny shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu import SHAPES, main


@pytest.mark.parametrize(("optimiser", "evaluations"), [("adam", 2), ("lbfgs", 3)])
def test_it_measures_every_number_of_edits_and_writes_what_it_found(
    optimiser: str, evaluations: int, tmp_path: Path
) -> None:
    main(["--shape", "tiny", "--device", "cpu", "--optimiser", optimiser, "--out", str(tmp_path)])
    file = tmp_path / f"gpu-gpt2-{optimiser}-cpu.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["edits"], row["evaluations"]) for row in found["rows"]] == [
        (4, evaluations),
        (8, evaluations),
    ]
    for row in found["rows"]:
        assert row["seconds_per_edit"] > 0
        assert 0 < row["share_of_matrix_rate"] < 10
        assert row["expected_bytes"] > 0
    assert len(file.with_suffix(".md").read_text(encoding="utf-8").strip().splitlines()) == 4
    assert file.with_suffix(".svg").stat().st_size > 1000


def test_later_counts_are_lowered_to_what_fits_into_the_time(tmp_path: Path) -> None:
    main(
        [
            "--shape",
            "tiny",
            "--device",
            "cpu",
            "--edits",
            "4",
            "100000",
            "--within",
            "0",
            "--out",
            str(tmp_path),
        ]
    )
    found = json.loads((tmp_path / "gpu-gpt2-adam-cpu.json").read_text(encoding="utf-8"))
    assert [row["edits"] for row in found["rows"]] == [4], "the first build runs whatever the time"


def test_the_real_shape_is_that_of_gpt_j_with_the_papers_layers() -> None:
    shape = SHAPES["gptj"]
    assert (shape.config.n_embd, shape.config.n_layer) == (4096, 28)
    assert shape.settings.layers == (3, 4, 5, 6, 7, 8)
    assert shape.edits == (1_000, 10_000)
