"""The form `delta`: only the changed tensors, a few per cent of a checkpoint, and the digest of their base.

    delta.safetensors   changed parameters by full name, in the dtype in which the base stores them; the
                        header's metadata holds `base`, the digest of the base, `editable`, the names of all
                        parameters that were editable in it, and `tensors`, the SHA-256 of each changed one

`read_delta` returns the tensors from which `write_checkpoint` makes the same checkpoint; `apply_delta` does both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.storage.base_import import EDITABLE
from editing.storage.manifest import read_manifest
from editing.storage.pack import FILE as PACK
from editing.storage.shards import encoded, read_header, rounded

if TYPE_CHECKING:
    import torch

FILE = "delta.safetensors"


@dataclass(frozen=True, slots=True)
class DeltaHeader:
    """What a delta says about itself."""

    base: str
    """Digest of the base; empty if none is named."""
    editable: tuple[str, ...]
    """Parameters that were editable in the base; empty in deltas of older versions."""
    tensors: dict[str, str]
    """Changed parameter -> SHA-256 of its bytes; empty in deltas of older versions."""
    size: int
    """Bytes of the file."""


def write_delta(base: Path, tensors: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Write `tensors` with the digest of `base`; a `Form`.  Raises CheckpointError, OSError."""
    from safetensors.torch import save

    manifest, stored = read_manifest(base), read_header(base / EDITABLE)
    entries = {name: stored[manifest.editable[name]] for name in sorted(tensors)}
    changed = {name: rounded(name, tensors[name], entry) for name, entry in entries.items()}
    digests = {
        name: sha256(encoded(name, changed[name], entry)).hexdigest() for name, entry in entries.items()
    }
    about = {
        "format": "pt",
        "base": manifest.digest,
        "editable": json.dumps(sorted(manifest.editable)),
        "tensors": json.dumps(digests),
    }
    (directory / FILE).write_bytes(save(changed, about))


def read_delta_header(file: Path) -> DeltaHeader:
    """What the delta in `file` says about itself.  Raises DamagedCheckpoint if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
        return DeltaHeader(
            about.get("base", ""),
            tuple(map(str, json.loads(about.get("editable", "[]")))),
            {str(name): str(digest) for name, digest in json.loads(about.get("tensors", "{}")).items()},
            file.stat().st_size,
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise DamagedCheckpoint(f"the delta {file} cannot be read: {error}") from error


def read_delta(base: Path, file: Path) -> dict[str, torch.Tensor]:
    """The changed parameters of a delta, by full name.

    Raises CheckpointError if it belongs to another base, DamagedCheckpoint if it cannot be read or a tensor is not what
    its digest says.
    """
    from safetensors.torch import load_file

    header = read_delta_header(file)
    if header.base != (digest := read_manifest(base).digest):
        raise CheckpointError(
            f"the delta {file} belongs to the base {header.base[:12] or 'of no name'}…, {base} is {digest[:12]}…"
        )
    stored = read_header(file)
    if header.tensors and header.tensors.keys() != stored.keys():
        raise DamagedCheckpoint(f"the delta {file} has other tensors than its header lists: copy it again")
    for name, expected in header.tensors.items():
        if (found := stored[name].digest()) != expected:
            raise DamagedCheckpoint(
                f"the delta {file} is damaged: {name!r} has SHA-256 {found}, expected {expected}; copy it again"
            )
    return load_file(file)


def apply_delta(base: Path, file: Path, out: Path) -> str:
    """Write the checkpoint that the delta in `file` makes of the imported base `base`; returns its digest.

    The retrieval pack beside the delta, if there is one, comes along.

    Raises CheckpointError, DamagedCheckpoint, as `read_delta` and `write_checkpoint` do; `out` is then not written.
    """
    from editing.storage.checkpoints import Extras, write_checkpoint

    pack = file.with_name(PACK)
    extras = Extras(pack=pack if pack.is_file() else None)
    return write_checkpoint(base, out, read_delta(base, file), extras=extras)
