"""Whatever is done to a model directory, reading it succeeds or raises an EditingError, and reads nothing outside."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import EditingError
from editing.evaluation.scoring import special_ids
from editing.model.architectures import locate_parts
from editing.model.chat import opening
from editing.model.loading import editable_tensors, load_model, load_tokenizer, readable
from editing.model.text_trees import attention_span
from editing.storage.checkpoints import import_base, verify
from tests.support.properties import drawing, editions
from tests.support.tiny_models import gpt2, llama, save

SECRET = "hunter2"
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    33,
    2**31,
    2**63,
    10**12,
    0.5,
    -1e300,
    float("nan"),
    10**400,
    "",
    "x",
    "gpt2",
    "llama",
    "auto",
    "\ud800",
    "../../etc/passwd",
    "/dev/zero",
    [],
    [1],
    ["x", None],
    [[]],
    {},
    {"a": 1},
    {"type": "default", "rope_theta": "x"},
    [0] * 40,
]
KEYS = """
    auto_map attn_implementation _attn_implementation quantization_config dtype torch_dtype
    model_type architectures layer_types rope_parameters rope_scaling num_labels id2label
    eos_token_id bos_token eos_token padding_side model_input_names add_bos_token split_special_tokens
    tokenizer_class added_tokens_decoder extra_special_tokens model_max_length chat_template
    tokenizer_file vocab_file pad_token_id eos_token_id head_dim text_config vision_config
    pruned_heads use_cache return_dict tie_word_embeddings is_encoder_decoder weight_map metadata
    base_model_name_or_path _name_or_path fast_tokenizer_files transformers_version problem_type
    chunk_size_feed_forward experts_implementation
    num_hidden_layers max_position_embeddings sliding_window attention_chunk_size residual_multiplier scale_depth
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sources")
    transformers.logging.disable_progress_bar()
    return [
        save(gpt2(layers=2), root / "gpt2"),
        save(llama(), root / "llama"),
        save(gpt2(layers=2), root / "sharded", shard="60KB"),
        import_base(root / "llama", root / "base")[1],
    ]


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in a JSON value."""
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(pairs)[:200]:
        yield from paths(item, (*at, key))


def in_json(file: Path, draw: random.Random) -> None:
    """Change, remove or add one value of a JSON file."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return
    *way, last = draw.choice([path for path in paths(content) if path] or [(draw.choice(KEYS.split()),)])
    holder = content
    for key in way:
        holder = holder[key]
    if isinstance(holder, dict) and draw.random() < 0.3:
        last = draw.choice(KEYS.split())
    if draw.random() < 0.2 and (isinstance(holder, list) or last in holder):
        del holder[last]
    else:
        holder[last] = draw.choice(VALUES)
    file.write_text(json.dumps(content))


def in_bytes(file: Path, draw: random.Random) -> None:
    """Cut the file, or change one of its bytes, most often one of a header."""
    content = bytearray(file.read_bytes())
    at = min(draw.randrange(len(content) + 1), draw.choice([8, 400, 1 << 30]))
    if draw.random() < 0.3:
        del content[at:]
    elif at < len(content):
        content[at] = draw.randrange(256)
    file.write_bytes(content)


def in_folder(file: Path, draw: random.Random) -> None:
    """Put something else in the place of the file, or something strange beside it."""
    kind = draw.choice(["gone", "secret", "loop", "pipe", "folder", "adapter", "code", "both", "swapped"])
    if kind in ("gone", "secret", "loop", "pipe", "folder"):
        file.unlink()
    if kind == "secret":
        file.symlink_to(file.parent.parent / "secret")
    elif kind == "loop":
        file.symlink_to(file.name)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "adapter":
        (file.parent / "adapter_config.json").write_text("{}")
    elif kind == "code":
        (file.parent / "modeling.py").write_text("raise SystemExit('it ran')")
    elif kind == "both":
        copied(file, file.parent / "model.safetensors.index.json")
    elif kind == "swapped":
        copied(file, draw.choice(sorted(file.parent.iterdir())))


def copied(file: Path, target: Path) -> None:
    """The contents of `file` under the name `target`, whatever was there."""
    content = file.read_bytes()
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    target.write_bytes(content)


def damage(directory: Path, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 1, 2, 4])):
        files = [path for path in sorted(directory.iterdir()) if path.is_file() and not path.is_symlink()]
        if not files:
            return
        file = draw.choice([path for path in files if path.suffix == ".json"] or files)
        change = draw.choice([in_json, in_json, in_json, in_bytes, in_folder])
        if change is not in_json:
            file = draw.choice(files)
        change(file, draw)


def use(model: Any) -> None:
    """Ask the model for what an edit needs to know of it."""
    parts = locate_parts(model)
    assert all(isfinite(parts.gain(layer)) for layer in parts.default_layers())
    assert readable(model).tokens > 0
    assert attention_span(model) > 0
    ends = getattr(model.generation_config, "eos_token_id", None)
    assert all(end is None or isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends]))


def tokenise(tokenizer: Any) -> None:
    """Use the tokenizer as an edit does."""
    ids = tokenizer("The capital of Italy", return_offsets_mapping=True)["input_ids"]
    assert isinstance(tokenizer.decode(ids, skip_special_tokens=True), str)
    special_ids(tokenizer)
    opening(tokenizer)


def read_all(directory: Path, root: Path) -> None:
    def imported() -> None:
        verify(import_base(directory, root / "base", editable_tensors(directory))[1])

    readers = (
        imported,
        lambda: use(load_model(directory, device="cpu")),
        lambda: tokenise(load_tokenizer(directory)),
        lambda: verify(directory),
    )
    for reader in readers:
        try:
            reader()
        except EditingError:
            continue


def check(sources: list[Path], seed: int) -> None:
    draw = random.Random(seed)
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "secret").write_text(SECRET)
        directory = shutil.copytree(draw.choice(sources), root / "model")
        for path in directory.iterdir():
            path.chmod(0o644)
        damage(directory, draw)
        read_all(directory, root)
        copied = [path for path in (root / "base").rglob("*") if path.is_file()]
        assert not any(SECRET.encode() in path.read_bytes() for path in copied)


@editions(quick=20)
@pytest.mark.timeout(4 * 3600)
def test_a_damaged_model_directory_raises_only_what_is_declared(examples: int, sources: list[Path]) -> None:
    @drawing(examples)
    @given(seed=st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        check(sources, seed)

    holds()
