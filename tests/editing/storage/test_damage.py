"""Bytes that flip and files that vanish: what is damaged is named, and what can be had elsewhere is put back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.storage.checkpoints import import_base, relink, verify, write_checkpoint
from tests.support.tiny_models import editable, gpt2, save


def changed(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    return {name: state[name] + 0.5 for name in editable(model)[:2]}


@pytest.fixture
def model() -> torch.nn.Module:
    return gpt2()


@pytest.fixture
def base(model: torch.nn.Module, tmp_path: Path) -> Path:
    return import_base(save(model, tmp_path / "source"), tmp_path / "base")[1]


def damage(path: Path) -> None:
    """Flip one bit in place, for all who share the file."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize(
    "name", ["frozen-00001-of-00001.safetensors", "editable.safetensors", "config.json", "kbsync.json"]
)
def test_a_damaged_base_is_imported_again_from_its_origin(
    name: str, base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    damage(base / name)
    with pytest.raises(DamagedCheckpoint):
        verify(base)
    digest, again = import_base(tmp_path / "source", tmp_path / "base", editable(model))
    assert (again, digest) == (base, base.name)
    assert verify(base) == base.name


def test_a_lost_base_is_imported_again(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    shutil.rmtree(base)
    assert import_base(tmp_path / "source", tmp_path / "base", editable(model))[1] == base
    verify(base)


def test_what_a_checkpoint_shares_with_its_base_is_replaced_when_damaged(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    root = tmp_path / "checkpoints"
    digest = write_checkpoint(base, root / "1", changed(model))
    shared = "frozen-00001-of-00001.safetensors"
    damage(root / "1" / shared)
    (root / "1" / "config.json").unlink()
    assert relink(base, root / "1") == ("config.json",), "the base is damaged with the file they share"
    import_base(tmp_path / "source", tmp_path / "base", editable(model))
    assert relink(base, root / "1") == (shared,)
    assert verify(root / "1") == digest
    assert relink(base, root / "1") == ()
    damage(root / "1" / "editable.safetensors")
    assert relink(base, root / "1") == (), "its own shard is not the base's"
    other = gpt2(seed=1)
    _, foreign = import_base(save(other, tmp_path / "other"), tmp_path / "base", editable(other))
    with pytest.raises(CheckpointError, match="another base"):
        relink(foreign, root / "1")


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "modeling.py", "model.safetensors", "generation_config.json"]
)
def test_a_file_that_loaders_prefer_does_not_belong_into_a_checkpoint(
    name: str, base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    (tmp_path / "source" / "generation_config.json").unlink()
    _, plain = import_base(tmp_path / "source", tmp_path / "base", editable(model))
    write_checkpoint(plain, tmp_path / "1", changed(model))
    (tmp_path / "1" / name).write_text("{}")
    with pytest.raises(DamagedCheckpoint, match="does not belong here"):
        verify(tmp_path / "1")
    (tmp_path / "1" / name).unlink()
    (tmp_path / "1" / "notes.txt").write_text("approved by Ann")
    verify(tmp_path / "1")
