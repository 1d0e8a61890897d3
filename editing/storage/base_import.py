"""Importing a base model once, split so that checkpoints can share what is never edited.

A Hugging Face directory becomes `<root>/<digest>/`: read-only frozen shards, one shard with every
editable tensor (W_out of all layers), the index that joins them, the small files, and a manifest.
No tensor name occurs in two files: a loader that finds a `model.safetensors` beside an index reads
the former and silently serves the base (measured with transformers 5.23).  Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from editing.crashpoints import crash_point
from editing.durable import STAGING, fsync_directory, fsync_file, sha256_of, staging_name
from editing.errors import ArchitectureError, CheckpointError, DamagedCheckpoint, ModelError
from editing.storage.manifest import NAME, Manifest, read_manifest
from editing.storage.shards import Stored, read_header, write_shard

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
EDITABLE = "editable.safetensors"
SHARD_BYTES = 4 << 30
_SMALL = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py", ".md"}
_FLOATS = {"F64", "F32", "F16", "BF16"}


def import_base(
    source: Path, root: Path, editable: Sequence[str] | None = None, *, shard_bytes: int = SHARD_BYTES
) -> tuple[str, Path]:
    """Import the model in `source` under `root` and return its (digest, directory).

    `editable` are names of parameters in the model, by default W_out of every layer, by the table of
    architectures (which imports torch); the names in the files may lack or carry a prefix.  Importing
    the same files again only reads them.  Raises ModelError if `source` is not a model that can be
    imported, CheckpointError if `root` cannot be written.
    """
    tensors = _tensors(source)
    if editable is None:
        editable = _writers(source, tensors)
    names = _stored_names(source, editable, tensors)
    small = [path for path in sorted(source.iterdir()) if _is_small(path)]
    fingerprint = _fingerprint([*small, *sorted({tensor.file for tensor in tensors.values()})], names)
    known = root / f".source-{fingerprint[:32]}"
    if known.is_symlink() and (known / NAME).is_file():
        directory = root / known.readlink()
        return read_manifest(directory).digest, directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        digest = _split(small, tensors, names, root, shard_bytes)
        _remember(known, digest)
    except OSError as error:
        raise CheckpointError(f"cannot import {source} into {root}: {error.strerror or error}") from error
    return digest, root / digest


def _split(
    small: list[Path], tensors: dict[str, Stored], names: dict[str, str], root: Path, shard_bytes: int
) -> str:
    """Write everything under a temporary name, then give it its own; returns the digest."""
    staging = staging_name(root / "base")
    staging.mkdir()
    try:
        files = {path.name: _copy(path, staging / path.name) for path in small}
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
        fsync_directory(staging)
        final = root / manifest.digest
        crash_point("editing.bases:before-rename")
        if not final.exists():
            staging.rename(final)
            fsync_directory(root)
        return manifest.digest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remember(link: Path, digest: str) -> None:
    """Note under the sources' fingerprint which base they became."""
    temporary = link.parent / f"{STAGING}{link.name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(digest)
    temporary.replace(link)
    fsync_directory(link.parent)


def _tensors(source: Path) -> dict[str, Stored]:
    """All tensors of the model in `source`, by the name they are stored under."""
    if not source.is_dir():
        raise ModelError(f"no model directory at {source}: give the path of a local Hugging Face model")
    if not (source / "config.json").is_file():
        raise ModelError(f"{source} has no config.json: it is not a Hugging Face model directory")
    index, single = source / INDEX, source / SINGLE
    if index.is_file() and single.is_file():
        raise ModelError(f"{source} holds both {SINGLE} and {INDEX}: loaders disagree on them; remove one")
    try:
        if single.is_file():
            return read_header(single)
        if index.is_file():
            return _indexed(index)
    except DamagedCheckpoint as error:
        raise ModelError(str(error)) from error
    if any(source.glob("*.bin")) or any(source.glob("*.pt*")):
        raise ModelError(
            f"{source} holds its weights in pickled files, which can run code when they are read: convert "
            "them where you trust them, with AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)"
        )
    raise ModelError(f"{source} holds no weights: expected {SINGLE} or {INDEX}")


def _indexed(index: Path) -> dict[str, Stored]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
    except (ValueError, KeyError) as error:
        raise ModelError(f"{index} cannot be read ({error}): copy or download it again") from error
    headers = {name: read_header(index.parent / name) for name in sorted(set(weight_map.values()))}
    missing = [name for name, file in weight_map.items() if name not in headers[file]]
    if missing:
        raise ModelError(f"{index} promises {missing[0]!r} in {weight_map[missing[0]]}, which lacks it")
    return {name: headers[file][name] for name, file in sorted(weight_map.items())}


def _writers(source: Path, tensors: Iterable[str]) -> list[str]:
    """The parameter names of W_out of every layer, counted in what is stored."""
    from editing.model.architectures import TABLE

    kind = json.loads((source / "config.json").read_bytes()).get("model_type")
    if kind not in TABLE:
        raise ArchitectureError(
            f"architecture {kind!r} of {source} is not in the table ({', '.join(sorted(TABLE))}): name the "
            "tensors to be edited (W_out of the MLPs) when importing it"
        )
    parts = TABLE[kind]
    pattern = re.compile(rf"(?:^|\.)(\d+)\.{re.escape(parts.writer)}\.weight$")
    layers = sorted({int(match[1]) for name in tensors if (match := pattern.search(name))})
    return [f"{parts.blocks}.{layer}.{parts.writer}.weight" for layer in layers]


def _stored_names(source: Path, editable: Sequence[str], tensors: dict[str, Stored]) -> dict[str, str]:
    """Parameter name -> stored name; they differ by a prefix where only the inner model was saved."""
    names = {}
    for name in editable:
        found = [stored for stored in tensors if name == stored] or [
            stored for stored in tensors if name.endswith(f".{stored}") or stored.endswith(f".{name}")
        ]
        if len(found) != 1:
            raise ModelError(f"{source} stores {len(found)} tensors that could be {name!r}: {found[:3]}")
        stored = tensors[found[0]]
        if stored.dtype not in _FLOATS:
            raise ModelError(f"{name!r} in {source} is {stored.dtype}: import the unquantised model")
        names[name] = found[0]
    if not names:
        raise ModelError(f"nothing of {source} would be editable: name at least one tensor")
    return names


def _is_small(path: Path) -> bool:
    if path.name in {INDEX, NAME} or path.name.endswith(".index.json"):
        return False
    return path.is_file() and (path.suffix in _SMALL or path.name.upper().startswith(("LICENSE", "NOTICE")))


def _fingerprint(files: Iterable[Path], names: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode())
    for path in files:
        digest.update(f"\0{path.name}\0{sha256_of(path)}".encode())
    return digest.hexdigest()


def _pack(tensors: Iterable[Stored], limit: int) -> list[list[Stored]]:
    """Tensors in shards of at most `limit` bytes (a larger tensor gets one of its own)."""
    return list(_packed(tensors, limit))


def _packed(tensors: Iterable[Stored], limit: int) -> Iterator[list[Stored]]:
    shard: list[Stored] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.length > limit:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.length
    if shard:
        yield shard


def _write_index(path: Path, shards: dict[str, list[Stored]]) -> str:
    weight_map = {tensor.name: name for name, shard in shards.items() for tensor in shard}
    total = sum(tensor.length for shard in shards.values() for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return _write_synced(path, json.dumps(index, indent=1).encode() + b"\n")


def _write_synced(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o444)
    fsync_file(path)
    return hashlib.sha256(content).hexdigest()


def _copy(source: Path, target: Path) -> str:
    return _write_synced(target, source.read_bytes())
