"""Importing a base model once, split so that checkpoints share the files that are never edited.

A Hugging Face directory becomes `<root>/<digest>/`: read-only frozen shards, one shard with every
editable tensor (W_out of all layers), the index that joins them, the small files, and a manifest.
No tensor name occurs in two files: a loader that finds a `model.safetensors` next to an index reads
the former and silently serves the base (measured with transformers 5.23).  Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editing.crashpoints import crash_point
from editing.durable import (
    LOCK,
    STAGING,
    file_lock,
    fsync_directory,
    fsync_file,
    remove,
    sha256_of,
    staging_name,
)
from editing.errors import ArchitectureError, CheckpointError, DamagedCheckpoint, ModelError
from editing.model.directory import INDEX, ModelDirectory
from editing.storage.manifest import NAME, Manifest, verify
from editing.storage.shards import StoredTensor, read_header, write_shard

EDITABLE = "editable.safetensors"
SHARD_BYTES = 4 << 30
_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def import_base(
    source: Path, root: Path, editable: Sequence[str] | None = None, *, shard_bytes: int = SHARD_BYTES
) -> tuple[str, Path]:
    """Import the model in `source` under `root` and return its (digest, directory).

    `editable` are names of parameters in the model, by default W_out of every layer, from the table of
    architectures (which imports torch); the names in the files may lack or have a prefix.  Importing the same files
    again only reads them and the base that was written for them; a damaged base is then written again.  Raises
    ModelError if `source` is not a model that can be imported, CheckpointError if `root` cannot be written.
    """
    directory = ModelDirectory.at(source)
    tensors = _tensors(directory)
    if editable is None:
        editable = _writers(directory, tensors)
    names = _stored_names(source, editable, tensors)
    small = {name: directory.read(name) for name in directory.small_files()}
    fingerprint = _fingerprint(small, sorted({tensor.file for tensor in tensors.values()}), names)
    small["config.json"] = _loadable_config(directory, small["config.json"], tensors.values())
    known = root / f".source-{fingerprint[:32]}"
    if (imported := _remembered(known)) is not None and _is_whole(imported):
        return imported.name, imported
    try:
        root.mkdir(parents=True, exist_ok=True)
        with file_lock(root / LOCK):
            # Another process may have imported the same model into a shared directory in the meantime.
            if (imported := _remembered(known)) is not None and _is_whole(imported):
                return imported.name, imported
            digest = _split(small, tensors, names, root, shard_bytes)
            _remember(known, digest)
    except OSError as error:
        raise CheckpointError(f"cannot import {source} into {root}: {error.strerror or error}") from error
    return digest, root / digest


def stored_parameters(source: Path, names: Sequence[str]) -> dict[str, tuple[Path, str]]:
    """Parameter name → (file, name there) for parameters of the model in `source`; raises ModelError."""
    tensors = _tensors(ModelDirectory.at(source))
    found = _stored_names(source, names, tensors)
    return {name: (tensors[there].file, there) for name, there in found.items()}


def stored_values(source: Path) -> dict[str, int]:
    """Dtype → number of stored values, for the model in `source`; raises ModelError."""
    counts: Counter[str] = Counter()
    for tensor in _tensors(ModelDirectory.at(source)).values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    return dict(counts)


def _split(
    small: Mapping[str, bytes],
    tensors: dict[str, StoredTensor],
    names: dict[str, str],
    root: Path,
    shard_bytes: int,
) -> str:
    """Write everything under a temporary name, then rename it; returns the digest."""
    staging = staging_name(root / "base")
    staging.mkdir()
    try:
        files = {name: _write_synced(staging / name, content) for name, content in small.items()}
        stored = set(names.values())
        frozen = _pack((tensor for name, tensor in tensors.items() if name not in stored), shard_bytes)
        shards = {
            f"frozen-{number:05d}-of-{len(frozen):05d}.safetensors": shard
            for number, shard in enumerate(frozen, start=1)
        }
        shards[EDITABLE] = [tensors[name] for name in sorted(stored)]
        for name, shard in shards.items():
            files[name] = write_shard(staging / name, shard)
        files[INDEX] = _write_index(staging / INDEX, shards)
        manifest = Manifest(kind="base", base="", files=files, editable=names)
        _write_synced(staging / NAME, manifest.to_bytes())
        for folder in {(staging / name).parent for name in files}:
            fsync_directory(folder)
        final = root / manifest.digest
        crash_point("editing.bases:before-rename")
        damaged = staging_name(final) if final.exists() and not _is_whole(final) else None
        if damaged is not None:
            final.rename(damaged)
        if not final.exists():
            staging.rename(final)
            fsync_directory(root)
        if damaged is not None:
            remove(damaged)
        return manifest.digest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remembered(link: Path) -> Path | None:
    """The base imported from the sources with this fingerprint, if it exists."""
    if not link.is_symlink():
        return None
    directory = link.parent / link.readlink().name
    return directory if (directory / NAME).is_file() else None


def _is_whole(directory: Path) -> bool:
    """Whether an imported base is undamaged and its directory is named by its digest."""
    try:
        return verify(directory) == directory.name
    except DamagedCheckpoint:
        return False


def _remember(link: Path, digest: str) -> None:
    """Record, under the sources' fingerprint, which base was imported from them."""
    temporary = link.parent / f"{STAGING}{link.name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(digest)
    temporary.replace(link)
    fsync_directory(link.parent)


def _tensors(directory: ModelDirectory) -> dict[str, StoredTensor]:
    """All tensors of the model, by their stored names."""
    directory.config  # noqa: B018  (what asks for code is refused before anything else is read)
    try:
        headers = {path.name: read_header(path) for path in directory.weight_files()}
    except DamagedCheckpoint as error:
        raise ModelError(str(error)) from error
    weight_map = directory.weight_map()
    if weight_map is None:
        return next(iter(headers.values()))
    missing = [name for name, file in weight_map.items() if name not in headers[file]]
    if missing:
        raise ModelError(
            f"{directory.path / INDEX} promises {missing[0][:80]!r} in {weight_map[missing[0]]}, which lacks it"
        )
    return {name: headers[file][name] for name, file in sorted(weight_map.items())}


def _writers(directory: ModelDirectory, tensors: Iterable[str]) -> list[str]:
    """The parameter names of W_out of every layer, found among the stored tensors."""
    from transformers import CONFIG_MAPPING

    from editing.model.architectures import TABLE
    from editing.model.loading import editable_tensors

    kind = directory.config.get("model_type")
    if isinstance(kind, str) and kind in CONFIG_MAPPING and kind not in TABLE:
        return editable_tensors(directory.path)
    if not isinstance(kind, str) or kind not in TABLE:
        raise ArchitectureError(
            f"architecture {kind!r:.80} of {directory.path} is not in the table ({', '.join(sorted(TABLE))}), and "
            "transformers does not know it: name the tensors to be edited (W_out of the MLPs) when importing it"
        )
    parts = TABLE[kind]
    pattern = re.compile(rf"(?:^|\.)(\d+)\.{re.escape(parts.writer)}\.weight$", re.ASCII)
    layers = sorted({int(match[1]) for name in tensors if (match := pattern.search(name))})
    return [f"{parts.blocks}.{layer}.{parts.writer}.weight" for layer in layers]


def _loadable_config(directory: ModelDirectory, content: bytes, tensors: Iterable[StoredTensor]) -> bytes:
    """config.json unchanged, except for `dtype: "auto"`, which transformers cannot load.

    It stands for the stored dtype of the weights, which is written instead.
    """
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.length
    stored = max((dtype for dtype in sizes if dtype in _FLOATS), key=lambda dtype: sizes[dtype])
    config = _with_dtype(directory.config, _FLOATS[stored])
    if config == directory.config:
        return content
    return json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n"


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """`config` with `dtype` in place of "auto", also in nested configurations."""
    known: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("dtype", "torch_dtype") and value == "auto":
            known[key] = dtype
        else:
            known[key] = _with_dtype(value, dtype) if isinstance(value, dict) else value
    return known


def _stored_names(source: Path, editable: Sequence[str], tensors: dict[str, StoredTensor]) -> dict[str, str]:
    """Parameter name -> stored name; they differ by a prefix if only the inner model was saved."""
    names = {}
    for name in editable:
        found = _candidates(name, tensors)
        if len(found) != 1:
            raise ModelError(f"{source} stores {len(found)} tensors that could be {name!r}: {found[:3]}")
        stored = tensors[found[0]]
        if stored.dtype not in _FLOATS:
            raise ModelError(f"{name!r} in {source} is {stored.dtype}: import the unquantised model")
        names[name] = found[0]
    if not names:
        raise ModelError(f"nothing of {source} would be editable: name at least one tensor")
    return names


def _candidates(name: str, tensors: Iterable[str]) -> list[str]:
    """The stored tensors that could be the parameter `name`.

    Names differ by a prefix if only the inner model was saved, and by a part in the middle if a
    release of transformers moved it: `language_model.model.layers.0…` is `model.language_model.layers.0…`.
    """
    stored = list(tensors)
    same = [other for other in stored if other == name]
    ending = [other for other in stored if name.endswith(f".{other}") or other.endswith(f".{name}")]
    block = re.search(r"[^.]+\.\d+\..+$", name, re.ASCII)
    moved = [other for other in stored if block and other.endswith(f".{block[0]}")]
    return same or ending or moved


def _fingerprint(small: Mapping[str, bytes], weights: Iterable[Path], names: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode())
    for name, content in small.items():
        digest.update(f"\0{name}\0{hashlib.sha256(content).hexdigest()}".encode())
    for path in weights:
        digest.update(f"\0{path.name}\0{sha256_of(path)}".encode())
    return digest.hexdigest()


def _pack(tensors: Iterable[StoredTensor], limit: int) -> list[list[StoredTensor]]:
    """Tensors in shards of at most `limit` bytes (a larger tensor gets a separate shard)."""
    return list(_packed(tensors, limit))


def _packed(tensors: Iterable[StoredTensor], limit: int) -> Iterator[list[StoredTensor]]:
    shard: list[StoredTensor] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.length > limit:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.length
    if shard:
        yield shard


def _write_index(path: Path, shards: dict[str, list[StoredTensor]]) -> str:
    weight_map = {tensor.name: name for name, shard in shards.items() for tensor in shard}
    total = sum(tensor.length for shard in shards.values() for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return _write_synced(path, json.dumps(index, indent=1).encode() + b"\n")


def _write_synced(path: Path, content: bytes) -> str:
    if not path.parent.exists():
        path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o444)
    fsync_file(path)
    return hashlib.sha256(content).hexdigest()
