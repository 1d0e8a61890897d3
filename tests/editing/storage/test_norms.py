"""The norms of edited matrices: those of the tensors, whatever the size of the pieces they are read in."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.storage import norms
from editing.storage.base_import import EDITABLE, import_base
from editing.storage.checkpoints import write_checkpoint
from editing.storage.norms import compare_norms
from tests.support.tiny_models import editable, gpt2, save


@pytest.mark.parametrize("piece", [1, 100, 1 << 23])
def test_norms_are_those_of_the_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(norms, "_PIECE", piece)
    model = gpt2()
    state, names = model.state_dict(), editable(model)
    _, base = import_base(save(model, tmp_path / "source"), tmp_path / "base")
    edits = {names[2]: state[names[2]] + 0.5, names[0]: state[names[0]] * 2}
    write_checkpoint(base, tmp_path / "1", {names[2]: edits[names[2]]})
    write_checkpoint(base, tmp_path / "2", edits)
    first, last = compare_norms(base, tmp_path / "1", tmp_path / "2")
    assert [(one.name, one.layer) for one in (first, last)] == [(names[0], 0), (names[2], 2)]
    weights = state[names[0]].double()
    assert first.base == first.before == pytest.approx(float(weights.norm()))
    assert first.after == pytest.approx(2 * first.base)
    assert first.difference == pytest.approx(first.base)
    assert last.before == last.after == pytest.approx(float(edits[names[2]].double().norm()))
    assert last.difference == 0


def test_checkpoints_of_another_base_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    _, base = import_base(save(gpt2(), tmp_path / "source"), tmp_path / "base")
    _, other = import_base(save(gpt2(seed=1), tmp_path / "other source"), tmp_path / "other")
    write_checkpoint(base, tmp_path / "1", {})
    write_checkpoint(other, tmp_path / "2", {})
    assert compare_norms(base, tmp_path / "1", tmp_path / "1") == ()
    with pytest.raises(CheckpointError, match="not built from the base"):
        compare_norms(base, tmp_path / "1", tmp_path / "2")
    shard = tmp_path / "1" / EDITABLE
    shard.write_bytes(shard.read_bytes()[:64])
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        compare_norms(base, tmp_path / "1", tmp_path / "1")
