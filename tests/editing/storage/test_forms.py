"""Further forms of a candidate: written with its checkpoint, covered by its manifest, equal to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.errors import CheckpointError, DamagedCheckpoint, SpecError
from editing.storage import forms
from editing.storage.checkpoints import import_base, read_changed, verify, write_checkpoint
from editing.storage.delta import FILE, read_delta
from tests.support.tiny_models import editable, gpt2, save


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return gpt2()


@pytest.fixture(scope="module")
def base(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases")
    return import_base(save(model, root / "source"), root / "base", editable(model))[1]


def changes(model: Any) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    return {name: state[name] + 0.5 for name in editable(model)[:1]}


def test_a_delta_holds_what_the_checkpoint_changed_and_makes_the_same_checkpoint(
    model: torch.nn.Module, base: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "1"
    digest = write_checkpoint(base, whole, changes(model), ["delta"])
    assert verify(whole) == digest
    delta = read_delta(base, whole / "delta" / FILE)
    assert delta.keys() == changes(model).keys()
    assert all(torch.equal(tensor, delta[name]) for name, tensor in read_changed(base, whole).items())
    again = write_checkpoint(base, tmp_path / "2", delta)
    assert again == write_checkpoint(base, tmp_path / "3", changes(model))
    assert (whole / "delta" / FILE).stat().st_size < sum(f.stat().st_size for f in whole.iterdir()) / 4


def test_a_checkpoint_with_further_forms_loads_in_plain_transformers(
    model: torch.nn.Module, base: Path, tmp_path: Path
) -> None:
    write_checkpoint(base, tmp_path / "1", changes(model), ["delta"])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "1").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in changes(model).items())


def test_a_flipped_byte_of_a_form_is_found(model: torch.nn.Module, base: Path, tmp_path: Path) -> None:
    write_checkpoint(base, tmp_path / "1", changes(model), ["delta"])
    file = tmp_path / "1" / "delta" / FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=FILE):
        verify(tmp_path / "1")


def test_a_delta_of_another_base_is_refused(model: torch.nn.Module, base: Path, tmp_path: Path) -> None:
    write_checkpoint(base, tmp_path / "1", changes(model), ["delta"])
    other = gpt2(layers=2)
    _, elsewhere = import_base(save(other, tmp_path / "other"), tmp_path / "base", editable(other))
    with pytest.raises(CheckpointError, match="belongs to the base"):
        read_delta(elsewhere, tmp_path / "1" / "delta" / FILE)


def test_a_form_is_one_function_and_one_entry(
    model: torch.nn.Module, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretend form, registered as a built-in one is: everything around it is shared."""
    monkeypatch.setitem(forms._BUILT_IN, "names", f"{__name__}:write_names")  # type: ignore[arg-type]
    monkeypatch.setattr(forms, "import_module", lambda _: __import__("sys").modules[__name__])
    digest = write_checkpoint(base, tmp_path / "1", changes(model), ["names"])
    assert (tmp_path / "1" / "names" / "names.txt").read_text() == "\n".join(changes(model))
    assert verify(tmp_path / "1") == digest


def write_names(base: Path, tensors: Mapping[str, torch.Tensor], directory: Path) -> None:
    (directory / "names.txt").write_text("\n".join(tensors))


def write_folder(base: Path, tensors: Mapping[str, torch.Tensor], directory: Path) -> None:
    (directory / "inner").mkdir()


def test_a_form_that_writes_something_else_than_files_leaves_no_checkpoint(
    model: torch.nn.Module, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(forms._BUILT_IN, "folder", f"{__name__}:write_folder")  # type: ignore[arg-type]
    monkeypatch.setattr(forms, "import_module", lambda _: __import__("sys").modules[__name__])
    with pytest.raises(CheckpointError, match="not a regular file"):
        write_checkpoint(base, tmp_path / "out" / "1", changes(model), ["folder"])
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_form_lists_those_that_there_are() -> None:
    with pytest.raises(SpecError, match=r"available: .*delta"):
        forms.form_named("adaptor")
