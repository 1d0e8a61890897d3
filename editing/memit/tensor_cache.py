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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editing.durable import make_directory, write_file
from editing.mirror import mirror

DIGEST = "sha256"
ROWS = 256
"""Rows that are read at a time to verify a matrix."""


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


@dataclass(frozen=True)
class StoredMatrix:
    """A square matrix in a file of its own, read part by part."""

    path: Path
    name: str

    def size(self) -> int | None:
        """Number of its rows; None if there is no such file, or if it is damaged, which is found by reading it once."""
        mirror().fetch([self.path])
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata: dict[str, str] = dict(file.metadata() or {})
                rows, columns = file.get_slice(self.name).get_shape()
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            self.path.unlink(missing_ok=True)
            return None
        dtype = self.rows(0, 1).dtype
        expected, digest = metadata.pop(DIGEST, ""), _begun(metadata)
        digest.update(_header(self.name, dtype, (rows, columns)))
        for first in range(0, rows, ROWS):
            digest.update(_bytes(self.rows(first, first + ROWS)))
        if digest.hexdigest() == expected:
            _note_use(self.path)
            return int(rows)
        self.path.unlink(missing_ok=True)
        return None

    def rows(self, first: int, end: int, column: int = 0) -> Tensor:
        """Rows `first` to `end`, from `column` on."""
        with safe_open(self.path, framework="pt") as file:
            part: Tensor = file.get_slice(self.name)[first:end, column:]
        return part


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = _begun(metadata)
    for name, tensor in sorted(tensors.items()):
        digest.update(_header(name, tensor.dtype, tuple(tensor.shape)))
        digest.update(_bytes(tensor))
    return str(digest.hexdigest())


def _begun(metadata: Mapping[str, str]) -> Any:
    return hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())


def _header(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    return f"\0{name}\0{dtype}\0{shape}\0".encode()


def _bytes(tensor: Tensor) -> Any:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
