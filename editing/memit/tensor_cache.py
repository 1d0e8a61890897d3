"""Tensors in the cache: each file contains a digest of its contents.

A damaged file (a flipped byte, a truncated end) counts as absent: it is removed, and its contents are computed
again.  A content key identifies what a file is for; the digest verifies that the contents are intact.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editing.durable import make_directory, write_file
from editing.mirror import mirror

DIGEST = "sha256"


def store(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` with `metadata` to `path`, atomically and synced, and to what the cache mirrors."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    make_directory(path.parent)
    write_file(path, save(ready, {**metadata, DIGEST: _digest(ready, metadata)}))
    mirror().stored(path)


def load(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """(tensors, metadata) from `path`; None if there is no such file, here or in the mirror, or if it is damaged."""
    mirror().fetch([path])
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError):
        path.unlink(missing_ok=True)
        return None
    if metadata.pop(DIGEST, "") != _digest(tensors, metadata):
        path.unlink(missing_ok=True)
        return None
    _note_use(path)
    # Copied to where torch allocates: last bits of a product depend on how its factors are aligned.
    return {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, metadata


def _note_use(path: Path) -> None:
    """Set the time of the file's last access, which file systems do not keep reliably: what is not used is deleted."""
    with suppress(FileNotFoundError, PermissionError):  # deleted meanwhile, or another user's
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
