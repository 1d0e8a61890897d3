"""The form `delta`: only the changed tensors, a few per cent of a checkpoint, and the digest of their base.

    delta.safetensors   changed parameters by full name, in the dtype in which the base stores them; the
                        header's metadata holds `base`, the digest of the base

`read_delta` returns the tensors from which `write_checkpoint` makes the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.storage.base_import import EDITABLE
from editing.storage.manifest import read_manifest
from editing.storage.shards import read_header, rounded

if TYPE_CHECKING:
    import torch

FILE = "delta.safetensors"


def write_delta(base: Path, tensors: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Write `tensors` with the digest of `base`; a `Form`.  Raises CheckpointError, OSError."""
    from safetensors.torch import save

    manifest, stored = read_manifest(base), read_header(base / EDITABLE)
    changed = {
        name: rounded(name, tensor, stored[manifest.editable[name]])
        for name, tensor in sorted(tensors.items())
    }
    (directory / FILE).write_bytes(save(changed, {"base": manifest.digest, "format": "pt"}))


def read_delta(base: Path, file: Path) -> dict[str, torch.Tensor]:
    """The changed parameters of a delta, by full name.

    Raises CheckpointError if it belongs to another base, DamagedCheckpoint if it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            belongs_to = (opened.metadata() or {}).get("base", "")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"the delta {file} cannot be read: {error}") from error
    if belongs_to != (digest := read_manifest(base).digest):
        raise CheckpointError(
            f"the delta {file} belongs to the base {belongs_to[:12] or 'of no name'}…, {base} is {digest[:12]}…"
        )
    return tensors
