"""`kbsync apply`: the model that a delta makes of its base, or a clear reason why it makes none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.storage.checkpoints import import_base, read_manifest, verify, write_checkpoint
from editing.storage.delta import FILE, read_delta_header
from kbsync.home import Home
from kbsync.standalone.applying import apply
from tests.support.shell import Shell
from tests.support.tiny_models import editable, gpt2, save


class Delivered:
    """A model, a version of it with a delta, and a home on the machine that serves."""

    def __init__(self, root: Path) -> None:
        torch.manual_seed(0)
        model = gpt2()
        self.root = root
        self.source = save(model, root / "source")
        self.base = import_base(self.source, root / "base", editable(model))[1]
        changes = {name: model.state_dict()[name] + 0.5 for name in editable(model)[:1]}
        self.version = root / "version"
        self.digest = write_checkpoint(self.base, self.version, changes, ["delta"])
        self.delta = root / "sent" / "delta"
        shutil.copytree(self.version / "delta", self.delta)
        self.home = Home(root / "home")


@pytest.fixture
def delivered(tmp_path: Path) -> Delivered:
    return Delivered(tmp_path)


@pytest.fixture
def shell(delivered: Delivered, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(delivered.home, capfd)


def test_a_delta_and_the_original_model_make_the_version_that_was_judged(
    delivered: Delivered, tmp_path: Path
) -> None:
    found = apply(delivered.home, delivered.delta, delivered.source, tmp_path / "served")
    assert verify(tmp_path / "served") == found.digest
    assert read_manifest(tmp_path / "served").tensors == read_manifest(delivered.version).tensors
    judged, served = (
        AutoModelForCausalLM.from_pretrained(place).state_dict()
        for place in (delivered.version, tmp_path / "served")
    )
    assert all(torch.equal(tensor, served[name]) for name, tensor in judged.items())
    assert found.delta_bytes < found.model_bytes / 3
    assert found.tensors == 1


def test_versions_that_were_applied_share_what_they_do_not_change(
    delivered: Delivered, shell: Shell, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        code, _, err = shell(
            "apply", delivered.delta / FILE, "--to", delivered.source, "--out", tmp_path / name
        )
        assert code == 0, err
    frozen = next(path.name for path in (tmp_path / "1").glob("frozen-*"))
    assert (tmp_path / "1" / frozen).stat().st_ino == (tmp_path / "2" / frozen).stat().st_ino
    found = shell.json("apply", delivered.delta, "--to", delivered.base)
    assert Path(found["directory"]).parent == delivered.base.parent
    code, _, err = shell("apply", delivered.delta, "--to", delivered.base)
    assert (code, "exists already" in err) == (2, True)


def test_a_delta_of_another_base_writes_nothing(delivered: Delivered, shell: Shell, tmp_path: Path) -> None:
    other = save(gpt2(seed=7), tmp_path / "other")
    code, _, err = shell("apply", delivered.delta, "--to", other, "--out", tmp_path / "served")
    assert (code, "belongs to the base" in err) == (65, True)
    code, _, err = shell("apply", delivered.delta, "--to", delivered.version, "--out", tmp_path / "served")
    assert (code, "edited checkpoint" in err) == (65, True)
    code, _, err = shell("apply", tmp_path / "gone", "--to", delivered.base)
    assert (code, "there is no delta" in err) == (66, True)
    assert not (tmp_path / "served").exists()


def test_every_damaged_byte_of_a_delta_is_found(delivered: Delivered, shell: Shell, tmp_path: Path) -> None:
    file = delivered.delta / FILE
    whole = file.read_bytes()
    for at in (4, 12, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        code, _, err = shell("apply", delivered.delta, "--to", delivered.base, "--out", tmp_path / "served")
        assert code == 65, (at, err)
    file.write_bytes(whole[: len(whole) // 2])
    assert shell("apply", delivered.delta, "--to", delivered.base, "--out", tmp_path / "served")[0] == 65
    assert not (tmp_path / "served").exists()


def test_a_delta_lists_the_digests_of_its_tensors(delivered: Delivered) -> None:
    header = read_delta_header(delivered.delta / FILE)
    manifest = read_manifest(delivered.version)
    assert header.base == manifest.base
    assert set(header.editable) == set(manifest.editable)
    assert header.tensors == {name: manifest.tensors[manifest.editable[name]] for name in header.tensors}
