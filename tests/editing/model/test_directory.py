"""A model directory that somebody else wrote: nothing runs, nothing outside it is read, and what is wrong is named."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.errors import ArchitectureError, ModelError
from editing.evaluation.scoring import end_tokens
from editing.model.directory import SMALL, ModelDirectory, called
from editing.model.loading import context_length, editable_tensors, load_model, load_tokenizer
from editing.model.text_trees import attention_span
from editing.storage.checkpoints import import_base, read_editable, verify, write_checkpoint
from tests.support.families import tiny_family
from tests.support.tiny_models import gpt2, llama, save
from tests.support.zoo import tiny

CODE = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(gpt2(), tmp_path / "source")


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **values}))


def everything(source: Path) -> list[Callable[[], object]]:
    """All ways in which a model directory is read."""
    return [
        lambda: editable_tensors(source),
        lambda: import_base(source, source.parent / "base"),
        lambda: load_model(source, device="cpu"),
        lambda: load_tokenizer(source),
    ]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_in_a_model_directory_is_refused_before_anything_runs(
    name: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    (source / "homegrown.py").write_text(CODE)
    if name == "config.json":
        change(source / name, model_type="homegrown")
    change(
        source / name,
        auto_map={
            "AutoConfig": "homegrown.Config",
            "AutoModelForCausalLM": "homegrown.Model",
            "AutoTokenizer": [None, "homegrown.Tokenizer"],
        },
    )
    for read in everything(source):
        with pytest.raises(ModelError, match=rf"{name} has 'auto_map': it names code"):
            read()
    assert not (source / "ran").exists()


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_kernel_named_by_a_file_is_refused(key: str, nested: bool, source: Path) -> None:
    named = {key: "kernels-community/anything"}
    change(source / "config.json", **({"text_config": named} if nested else named))
    for read in everything(source):
        with pytest.raises(ModelError, match=f"{key}.*decided when a model is loaded"):
            read()


@pytest.mark.parametrize("where", [{}, {"text_config": {}}])
def test_a_quantised_model_is_refused_before_its_weights_are_read(
    where: dict[str, Any], source: Path
) -> None:
    quantised = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    change(source / "config.json", **({"text_config": quantised} if where else quantised))
    os.truncate(source / "model.safetensors", 10)
    for read in everything(source):
        with pytest.raises(ModelError, match=r"the weights are quantised.*fp32, bf16 or fp16"):
            read()


def test_an_adapter_is_refused_with_what_to_do(source: Path) -> None:
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    for read in everything(source):
        with pytest.raises(ModelError, match="merge_and_unload"):
            read()


def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.txt"
    file.write_text('{"password": "hunter2"}')
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    "name", ["NOTICE.txt", "LICENSE", "README.md", "generation_config.json", "vocab.txt"]
)
def test_a_link_out_of_the_directory_is_not_followed(name: str, source: Path, tmp_path: Path) -> None:
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to(secret(tmp_path))
    with pytest.raises(ModelError, match="link to a file outside the model"):
        import_base(source, tmp_path / "base")
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("base/**/*") if path.is_file())


def test_a_linked_folder_of_templates_is_left_out(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jinja").write_text("hunter2")
    (source / "additional_chat_templates").symlink_to(tmp_path / "elsewhere")
    _, base = import_base(source, tmp_path / "base")
    assert not (base / "additional_chat_templates").exists()


def test_weights_linked_from_elsewhere_are_not_followed(source: Path, tmp_path: Path) -> None:
    shutil.move(source / "model.safetensors", tmp_path / "outside.safetensors")
    (source / "model.safetensors").symlink_to(tmp_path / "outside.safetensors")
    for read in everything(source)[:3]:
        with pytest.raises(ModelError, match="link to a file outside the model"):
            read()


def test_a_snapshot_in_a_hubs_cache_is_read_through_its_links(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--name"
    snapshot = save(gpt2(), cache / "snapshots" / "0123abc")
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(cache / "blobs" / str(number))
        file.symlink_to(f"../../blobs/{number}")
    _, base = import_base(snapshot, tmp_path / "base")
    assert load_model(base, device="cpu").config.model_type == "gpt2"
    (snapshot / "NOTICE").symlink_to(tmp_path / "models--org--other" / "blobs" / "0")
    with pytest.raises(ModelError, match="NOTICE"):
        import_base(snapshot, tmp_path / "base")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/outside.safetensors", "a/b.safetensors", "", 7, None]
)
def test_an_index_may_only_name_files_beside_it(name: object, tmp_path: Path) -> None:
    source = save(gpt2(), tmp_path / "source", shard="60KB")
    shutil.copy(next(source.glob("*.safetensors")), tmp_path / "outside.safetensors")
    index = source / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] |= {next(iter(content["weight_map"])): name}
    index.write_text(json.dumps(content))
    for read in everything(source)[:3]:
        with pytest.raises(ModelError, match=r"expected the name of a \.safetensors file beside it"):
            read()


@pytest.mark.parametrize("name", ["config.json", "LICENSE", "tokenizer.json", "model.safetensors"])
def test_pipes_and_devices_are_refused_without_waiting(name: str, source: Path) -> None:
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)
    with pytest.raises(ModelError, match="not a regular file"):
        import_base(source, source.parent / "base")
    (source / name).unlink()
    (source / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"not a regular file|outside the model"):
        import_base(source, source.parent / "base")
    (source / name).unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / name))
        with pytest.raises(ModelError, match=r"cannot be read|not a regular file"):
            import_base(source, source.parent / "base")


def test_only_files_that_belong_to_a_model_are_copied(source: Path, tmp_path: Path) -> None:
    wanted = {"NOTICE.txt": "thanks", "LICENSE": "free", "README.md": "read", "vocab.txt": "a\n"}
    unwanted = {
        "setup.py": "x",
        "secrets.json": "{}",
        ".env": "x",
        "notes.txt": "x",
        "a.bin": "x",
        "b\nc.md": "x",
    }
    for name, content in (wanted | unwanted).items():
        (source / name).write_text(content)
    _, base = import_base(source, tmp_path / "base")
    assert all((base / name).read_text() == content for name, content in wanted.items())
    assert not any((base / name).exists() for name in unwanted)


def test_a_file_larger_than_its_kind_is_refused(source: Path) -> None:
    with (source / "LICENSE").open("wb") as file:
        file.truncate(SMALL + 1)
    with pytest.raises(ModelError, match="LICENSE is larger than 8 MiB"):
        import_base(source, source.parent / "base")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b'{"a": ' * 200_000, b'{"vocab_size": ' + b"9" * 5000 + b"}", b"null"],
    ids=["empty", "a list", "no UTF-8", "deep", "long digits", "null"],
)
def test_a_configuration_that_is_none_is_named(content: bytes, source: Path) -> None:
    (source / "config.json").write_bytes(content)
    for read in everything(source):
        with pytest.raises(ModelError, match=r"config\.json (is not JSON|does not contain a JSON object)"):
            read()


@pytest.mark.parametrize(
    "values",
    [
        {"n_layer": 10**7},
        {"n_positions": 10**9},
        {"vocab_size": 10**12},
        {"n_embd": 10**9},
        {"num_labels": 10**9},
        {"n_embd": -1},
        {"n_head": 0},
        {"activation_function": "abacus"},
        {"model_type": ["gpt2"]},
        {"model_type": "t5"},
        {"dtype": 7},
        {"n_layer": 10**400},
        {"vocab_size": 10**400},
        {"residual_multiplier": "x"},
        {"residual_multiplier": 10**400},
        {"residual_multiplier": float("nan")},
        {"scale_depth": [1]},
        {"sliding_window": "x"},
        {"attention_chunk_size": {}},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_its_weights_is_refused(
    values: dict[str, Any], source: Path
) -> None:
    change(source / "config.json", **values)
    with pytest.raises(ModelError):
        load_model(source, device="cpu")


@pytest.mark.parametrize("layers", [0, -1])
def test_a_model_without_layers_is_refused(layers: int, tmp_path: Path) -> None:
    for name, model, key in (
        ("gpt2", gpt2(layers=2), "n_layer"),
        ("llama", llama(), "num_hidden_layers"),
        ("bloom", tiny_family("bloom"), "n_layer"),
    ):
        source = save(model, tmp_path / name)
        change(source / "config.json", **{key: layers})
        with pytest.raises(ArchitectureError, match=r"no layers|no list of blocks"):
            editable_tensors(source)


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_below_one_states_none(length: int, tmp_path: Path) -> None:
    source = save(llama(), tmp_path / "source")
    change(source / "config.json", max_position_embeddings=length, sliding_window=length)
    model = load_model(source, device="cpu")
    assert context_length(model) == 2048
    assert attention_span(model) > 2048


@pytest.mark.parametrize("ends", ["x", "", 0.5, float("nan"), {}, [[1]], ["x"]], ids=repr)
def test_ends_of_a_text_that_are_no_ids_are_refused(ends: object, source: Path) -> None:
    change(source / "generation_config.json", eos_token_id=ends)
    with pytest.raises(ModelError, match="eos_token_id"):
        load_model(source, device="cpu")


@pytest.mark.parametrize("ends", [None, 3, [3, 5], [], [None], 10**12], ids=repr)
def test_ends_of_a_text_are_ids_one_or_several(ends: Any, source: Path) -> None:
    change(source / "generation_config.json", eos_token_id=ends)
    tokenizer = load_tokenizer(source)
    found = end_tokens(load_model(source, device="cpu"), tokenizer)
    own = {id for id in (ends if isinstance(ends, list) else [ends]) if id is not None}
    assert found == own | {tokenizer.eos_token_id}


@pytest.mark.parametrize("length", ["x", [1], {}], ids=repr)
def test_settings_with_which_a_tokenizer_cannot_be_used_are_refused(length: object, source: Path) -> None:
    change(source / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(ModelError, match="cannot use the tokenizer"):
        load_tokenizer(source)


def test_weights_that_the_configuration_asks_for_but_nobody_stored_are_named(source: Path) -> None:
    change(source / "config.json", n_layer=4)
    with pytest.raises(ModelError, match=r"lacks 12 tensors .*they would be random"):
        load_model(source, device="cpu")


def test_dtype_auto_means_what_is_stored(tmp_path: Path) -> None:
    source = save(llama().to(torch.bfloat16), tmp_path / "source")
    change(source / "config.json", dtype="auto", torch_dtype="auto")
    assert len(editable_tensors(source)) == 3
    _, base = import_base(source, tmp_path / "base")
    assert json.loads((base / "config.json").read_text())["dtype"] == "bfloat16"
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(base).dtype == torch.bfloat16
    assert import_base(source, tmp_path / "base")[1] == base


def test_all_chat_templates_are_kept_in_base_and_checkpoint(source: Path, tmp_path: Path) -> None:
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    _, base = import_base(source, tmp_path / "base")
    write_checkpoint(base, tmp_path / "checkpoints" / "1", read_editable(base))
    for directory in (base, tmp_path / "checkpoints" / "1"):
        verify(directory)
        assert set(load_tokenizer(directory).chat_template) == {"default", "tool_use"}
    (base / "additional_chat_templates" / "tool_use.jinja").chmod(0o644)
    (base / "additional_chat_templates" / "tool_use.jinja").write_text("changed")
    with pytest.raises(Exception, match=r"tool_use\.jinja is damaged"):
        verify(base)


def test_the_language_model_of_one_that_also_sees_is_found(tmp_path: Path) -> None:
    model = tiny("gemma3", dtype=torch.float32)
    source = save(model, tmp_path / "source")
    _, base = import_base(source, tmp_path / "base", editable_tensors(source))
    names = [f"model.language_model.layers.{layer}.mlp.down_proj.weight" for layer in range(4)]
    assert list(read_editable(base)) == names
    state = model.state_dict()
    write_checkpoint(base, tmp_path / "one", {name: state[name] + 1 for name in names[:2]})
    loaded = load_model(tmp_path / "one", device="cpu").state_dict()
    assert all(torch.equal(loaded[name], state[name] + (1 if name in names[:2] else 0)) for name in state)


def extended(directory: Path, added: str, id: int) -> None:
    """One more added token in tokenizer.json."""
    content = json.loads((directory / "tokenizer.json").read_text())
    kind = dict(content["added_tokens"][0], id=id, content=added)
    content["added_tokens"].append(kind)
    (directory / "tokenizer.json").write_text(json.dumps(content))


def test_tokens_beyond_the_embedding_are_no_tokens(tmp_path: Path) -> None:
    source = save(gpt2(), tmp_path / "source")
    known = len(load_tokenizer(source))
    change(source / "config.json", vocab_size=known)
    plain = load_tokenizer(source)("a <image> b")["input_ids"]
    extended(source, "<image>", known)
    assert load_tokenizer(source)("a <image> b")["input_ids"] == plain


def test_a_tokenizer_of_another_model_is_refused(source: Path) -> None:
    change(source / "config.json", vocab_size=100)
    with pytest.raises(ModelError, match=r"ids up to \d+, the embedding 100 rows"):
        load_tokenizer(source)


def test_no_directory_and_names_that_are_none_are_named() -> None:
    for path in (Path("/nowhere"), Path("nul\0byte"), Path("/dev/null")):
        with pytest.raises(ModelError, match="no model directory"):
            ModelDirectory.at(path)


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("models/our-llama", "our-llama"),
        ("models--HuggingFaceTB--SmolLM2-135M/snapshots/93efa2f", "HuggingFaceTB/SmolLM2-135M"),
        ("backup/snapshots/monday", "monday"),
    ],
)
def test_a_report_names_a_model_without_its_place(directory: str, name: str, tmp_path: Path) -> None:
    assert called(tmp_path / directory) == name
