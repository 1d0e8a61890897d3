"""The benchmark for a GPU, tried on a CPU with a tiny shape."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.gpu import SHAPES, main


def test_it_measures_every_number_of_edits_and_writes_what_it_found(tmp_path: Path) -> None:
    main(["--shape", "tiny", "--device", "cpu", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "gpu-tiny-cpu.json").read_text(encoding="utf-8"))
    assert [row["edits"] for row in found["rows"]] == [4, 8]
    for row in found["rows"]:
        assert row["seconds_per_edit"] > 0
        assert 0 < row["share_of_matrix_rate"] < 10
        assert row["expected_bytes"] > 0
    assert found["rows"][1]["phases"]["statistics"] < 60
    table = (tmp_path / "gpu-tiny-cpu.md").read_text(encoding="utf-8")
    assert len(table.strip().splitlines()) == 4


def test_the_real_shape_is_that_of_gpt_j_with_the_papers_layers() -> None:
    shape = SHAPES["gptj"]
    assert (shape.config.n_embd, shape.config.n_layer) == (4096, 28)
    assert shape.settings.layers == (3, 4, 5, 6, 7, 8)
    assert shape.edits == (1_000, 10_000)
