"""Checkpoint directories: complete or absent, linked, verified, loadable by plain transformers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from editing.errors import ArchitectureError, CheckpointError, DamagedCheckpoint, ModelError
from editing.storage.checkpoints import (
    collect_garbage,
    import_base,
    read_changed,
    read_editable,
    read_live,
    read_manifest,
    switch_live,
    verify,
    write_checkpoint,
)
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import editable, gpt2, llama, save


def changed(model: torch.nn.Module, by: float = 0.5) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    return {name: state[name] + by for name in editable(model)[:2]}


def python(code: str, *arguments: object, crash: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, **({"KBSYNC_CRASH": crash} if crash else {})}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE)


@pytest.fixture
def model() -> torch.nn.Module:
    return gpt2()


@pytest.fixture
def base(model: torch.nn.Module, tmp_path: Path) -> Path:
    return import_base(save(model, tmp_path / "source"), tmp_path / "base")[1]


def test_without_names_every_w_out_of_the_architecture_is_editable(tmp_path: Path) -> None:
    for kind, model in {"gpt2": gpt2(), "llama": llama()}.items():
        _, base = import_base(save(model, tmp_path / kind), tmp_path / "base")
        assert list(read_editable(base)) == editable(model)


def test_an_architecture_outside_the_table_needs_names(tmp_path: Path) -> None:
    source = save(gpt2(), tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "abacus"}))
    with pytest.raises(ArchitectureError, match=r"'abacus' of .* is not in the table"):
        import_base(source, tmp_path / "base")


def test_no_tensor_name_lies_in_two_files_and_none_is_lost(base: Path, tmp_path: Path) -> None:
    names: list[str] = []
    for shard in base.glob("*.safetensors"):
        names += load_file(shard)
    assert sorted(names) == sorted(load_file(tmp_path / "source" / "model.safetensors"))
    index = json.loads((base / "model.safetensors.index.json").read_text())
    assert sorted(index["weight_map"]) == sorted(names)


def test_importing_again_gives_the_same_directory_and_writes_nothing(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in base.iterdir()}
    digest, again = import_base(tmp_path / "source", tmp_path / "base", editable(model))
    assert again == base
    assert digest == base.name == read_manifest(base).digest
    assert {path: path.stat().st_mtime_ns for path in base.iterdir()} == before


def test_the_digest_follows_the_contents(base: Path, tmp_path: Path) -> None:
    other = gpt2(seed=1)
    digest, _ = import_base(save(other, tmp_path / "other"), tmp_path / "base", editable(other))
    assert digest != base.name


def test_how_the_source_was_sharded_does_not_change_what_is_loaded(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    source = save(model, tmp_path / "sharded", shard="60KB")
    assert len(list(source.glob("*.safetensors"))) > 2
    _, base = import_base(source, tmp_path / "base", editable(model), shard_bytes=50_000)
    assert len(list(base.glob("frozen-*.safetensors"))) > 2
    loaded = AutoModelForCausalLM.from_pretrained(base)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device_map", [None, "auto"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "tied llama"])
def test_plain_transformers_loads_live(
    kind: str, device_map: str | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = (gpt2() if kind == "gpt2" else llama(tied=kind.startswith("tied"))).to(dtype)
    _, base = import_base(save(model, tmp_path / "source"), tmp_path / "base", editable(model))
    edits = changed(model)
    write_checkpoint(base, tmp_path / "checkpoints" / "1", edits)
    switch_live(tmp_path / "checkpoints", "1")
    loaded, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "checkpoints" / "live", device_map=device_map, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.dtype == dtype
    for name, tensor in {**model.state_dict(), **edits}.items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_source_that_saved_only_the_inner_model_keeps_its_names(tmp_path: Path) -> None:
    model = gpt2()
    source = save(model, tmp_path / "source")
    inner = {name: tensor.clone() for name, tensor in model.transformer.state_dict().items()}
    save_file(inner, source / "model.safetensors", {"format": "pt"})
    _, base = import_base(source, tmp_path / "base")
    edits = changed(model)
    write_checkpoint(base, tmp_path / "out", edits)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, tensor in edits.items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert set(read_editable(tmp_path / "out")) == set(editable(model))


def test_only_the_editable_shard_and_the_manifest_are_new_files(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    write_checkpoint(base, tmp_path / "out", changed(model))
    new = {path.name for path in (tmp_path / "out").iterdir() if not path.samefile(base / path.name)}
    assert new == {"editable.safetensors", "kbsync.json"}
    verify(base)


def test_across_file_systems_files_are_copied(base: Path, model: torch.nn.Module, tmpfs: Path) -> None:
    digest = write_checkpoint(base, tmpfs / "out", changed(model))
    assert verify(tmpfs / "out") == digest
    assert not (tmpfs / "out" / "config.json").samefile(base / "config.json")


def test_a_written_checkpoint_reads_back_in_the_dtype_of_the_base(tmp_path: Path) -> None:
    model = llama().to(torch.bfloat16)
    _, base = import_base(save(model, tmp_path / "source"), tmp_path / "base", editable(model))
    edits = {name: tensor.float() + 0.1234567 for name, tensor in changed(model).items()}
    write_checkpoint(base, tmp_path / "out", edits)
    for name, tensor in read_editable(tmp_path / "out", list(edits)).items():
        assert torch.equal(tensor, edits[name].to(torch.bfloat16))


def test_only_what_differs_from_the_base_is_read_for_judging(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    write_checkpoint(base, tmp_path / "out", changed(model))
    assert set(read_changed(base, tmp_path / "out")) == set(changed(model))
    write_checkpoint(base, tmp_path / "same", {})
    assert read_changed(base, tmp_path / "same") == {}


def test_same_edit_same_digest(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    first = write_checkpoint(base, tmp_path / "1", changed(model))
    assert write_checkpoint(base, tmp_path / "2", changed(model)) == first
    assert write_checkpoint(base, tmp_path / "3", changed(model, by=0.25)) != first


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_values_that_are_not_finite_in_the_served_dtype_are_refused(value: float, tmp_path: Path) -> None:
    model = llama().to(torch.float16)
    _, base = import_base(save(model, tmp_path / "source"), tmp_path / "base", editable(model))
    name = editable(model)[0]
    with pytest.raises(CheckpointError, match="not finite"):
        write_checkpoint(
            base, tmp_path / "out", {name: torch.full_like(model.state_dict()[name].float(), value)}
        )
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_never_overwritten(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    write_checkpoint(base, tmp_path / "out", changed(model))
    with pytest.raises(CheckpointError, match="exists already"):
        write_checkpoint(base, tmp_path / "out", changed(model))


def test_unknown_and_misshapen_tensors_are_refused(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"wte\.weight"):
        write_checkpoint(base, tmp_path / "out", {"transformer.wte.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="shape"):
        write_checkpoint(base, tmp_path / "out", {editable(model)[0]: torch.zeros(2)})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda source: (source / "config.json").unlink(), "no readable config.json"),
        (lambda source: (source / "model.safetensors").unlink(), "contains no weights"),
        (lambda source: (source / "model.safetensors").rename(source / "pytorch_model.bin"), "pickled"),
        (lambda source: os.truncate(source / "model.safetensors", 9_000), "not a complete safetensors file"),
        (lambda source: (source / "model.safetensors.index.json").write_text("{}"), "holds both"),
    ],
)
def test_sources_that_cannot_be_imported_say_why_and_leave_nothing(
    spoil: object, message: str, model: torch.nn.Module, tmp_path: Path
) -> None:
    source = save(model, tmp_path / "source")
    spoil(source)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        import_base(source, tmp_path / "base", editable(model))
    assert not (tmp_path / "base").exists()


def test_a_missing_source_and_an_unknown_tensor_say_so(model: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model directory"):
        import_base(tmp_path / "nowhere", tmp_path / "base", editable(model))
    (tmp_path / "base").mkdir()
    with pytest.raises(ModelError, match="stores 0 tensors"):
        import_base(
            save(model, tmp_path / "source"), tmp_path / "base", ["transformer.h.9.mlp.c_proj.weight"]
        )


def test_any_flipped_or_missing_byte_is_found_by_the_name_of_its_file(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_checkpoint(base, out, changed(model))
    choose = random.Random(0)
    for path in sorted(out.iterdir()):
        original = path.read_bytes()
        path.unlink()  # a new file: the hard link to the base must stay whole
        for _ in range(5):
            spoiled = bytearray(original)
            spoiled[choose.randrange(len(spoiled))] ^= 1 << choose.randrange(8)
            path.write_bytes(spoiled)
            with pytest.raises(DamagedCheckpoint, match=path.name):
                verify(out)
        path.write_bytes(original[:-1])
        with pytest.raises(DamagedCheckpoint, match=path.name):
            verify(out)
        path.unlink()
        with pytest.raises(DamagedCheckpoint, match=path.name):
            verify(out)
        path.write_bytes(original)
    verify(out)
    (out / "model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match="does not belong here"):
        verify(out)


def test_a_full_file_system_leaves_nothing_behind(base: Path, model: torch.nn.Module, tmpfs: Path) -> None:
    filler = tmpfs / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(tmpfs)
        file.write(bytes(free.f_bavail * free.f_bsize - 100_000))
    with pytest.raises(CheckpointError, match="No space left"):
        write_checkpoint(base, tmpfs / "out", changed(model))
    assert [path.name for path in tmpfs.iterdir()] == ["filler"]


def test_live_must_point_to_a_complete_checkpoint(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    assert read_live(root) is None
    write_checkpoint(base, root / "1", changed(model))
    for name in ("2", "../base", ""):
        with pytest.raises(CheckpointError):
            switch_live(root, name)
    assert read_live(root) is None
    switch_live(root, "1")
    assert read_live(root) == "1"


def test_a_live_link_that_leads_elsewhere_names_no_checkpoint(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    root = tmp_path / "checkpoints"
    write_checkpoint(base, root / "1", changed(model))
    write_checkpoint(base, tmp_path / "elsewhere" / "1", changed(model))
    (root / "live").symlink_to(tmp_path / "elsewhere" / "1")
    assert read_live(root) == str(tmp_path / "elsewhere" / "1")
    switch_live(root, "1")
    assert read_live(root) == "1"


def test_garbage_is_what_nobody_keeps(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    for name in "1234":
        write_checkpoint(base, root / name, changed(model))
    switch_live(root, "3")
    (root / ".staging-4-1-ab").mkdir()
    (root / ".staging-4-1-ab" / "half").write_text("")
    (root / ".staging-live-1-ab").symlink_to("1")
    (root / "notes").mkdir()
    removed = collect_garbage(root, keep={"1"})
    assert set(removed) == {".staging-4-1-ab", ".staging-live-1-ab", "2", "4"}
    assert {path.name for path in root.iterdir()} == {"1", "3", "live", "notes"}
    verify(base)
    assert collect_garbage(root, keep={"1"}) == ()


WRITE = """
import sys; from pathlib import Path; import torch
from editing.storage.checkpoints import write_checkpoint, read_editable
base, out = map(Path, sys.argv[1:])
write_checkpoint(base, out, {name: tensor + 1 for name, tensor in read_editable(base).items()})
"""


@pytest.mark.parametrize("point", ["before-rename", "after-rename"])
def test_killed_while_writing_a_checkpoint_is_whole_or_absent(point: str, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "checkpoints" / "1"
    writer = python(WRITE, base, out, crash=f"editing.checkpoints:{point}")
    assert writer.wait() == -signal.SIGKILL
    if point == "after-rename":
        verify(out)
    else:
        assert not out.exists()
        assert len(collect_garbage(out.parent, keep=())) == 1
        write_checkpoint(base, out, read_editable(base))
    assert [path.name for path in out.parent.iterdir()] == ["1"]


SWITCH = """
import sys; from pathlib import Path; from editing.storage.checkpoints import switch_live
root = Path(sys.argv[1])
print("switching", flush=True)
while True:
    for name in "12":
        switch_live(root, name)
"""


def test_killed_while_switching_live_a_reader_always_sees_a_complete_version(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    root = tmp_path / "checkpoints"
    digests = {write_checkpoint(base, root / name, changed(model, by=int(name))) for name in "12"}
    switch_live(root, "1")
    choose = random.Random(0)
    reads = 0
    for _ in range(15):
        writer = python(SWITCH, root)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "switching\n"
        end = time.monotonic() + choose.uniform(0.01, 0.1)
        while time.monotonic() < end:
            live = read_live(root)
            assert live is not None
            assert read_manifest(root / live).digest in digests
            reads += 1
        writer.kill()
        writer.wait()
        live = read_live(root)
        assert live is not None
        assert verify(root / live) in digests
    collect_garbage(root, keep={"1", "2"})
    assert {path.name for path in root.iterdir()} == {"1", "2", "live"}
    assert reads > 500


def test_a_manifest_states_what_the_layers_were_solved_with(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    """λ and leverage are under the digest; a manifest without them is the one that was written before."""
    solved = {"lam": 199.0, "leverage_0": 2030.0}
    plain = write_checkpoint(base, tmp_path / "plain", changed(model))
    stated = write_checkpoint(base, tmp_path / "stated", changed(model), solved=solved)
    assert read_manifest(tmp_path / "stated").solved == solved
    assert read_manifest(tmp_path / "plain").solved == {}
    assert "solved" not in json.loads((tmp_path / "plain" / "kbsync.json").read_bytes())
    assert stated == verify(tmp_path / "stated") != plain
    forged = tmp_path / "stated" / "kbsync.json"
    forged.write_text(forged.read_text().replace("199.0", "200.0"))
    with pytest.raises(DamagedCheckpoint, match="does not match"):
        read_manifest(tmp_path / "stated")


def test_a_checkpoint_has_the_digest_of_every_tensor_of_its_shard(
    base: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    write_checkpoint(base, tmp_path / "1", changed(model))
    stored = load_file(tmp_path / "1" / "editable.safetensors")
    assert read_manifest(tmp_path / "1").tensors == {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in stored.items()
    }
    assert read_manifest(base).tensors == {}
