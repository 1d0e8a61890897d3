"""Safetensors files as named byte ranges, so that a model can be split without loading it.

The format (https://huggingface.co/docs/safetensors): eight bytes of little-endian header length, a
JSON header `{name: {dtype, shape, data_offsets}}`, then the tensors, end to end.  Copying ranges
preserves every dtype bit for bit and needs no memory.  Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.durable import open_regular
from editing.errors import CheckpointError, DamagedCheckpoint

if TYPE_CHECKING:
    import torch

_CHUNK = 8 << 20
HEADER_BYTES = 100_000_000
"""Largest header, as in the safetensors library."""
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""dtype → bits of one value."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Location of one tensor: `length` bytes at `start` of `file`."""

    name: str
    dtype: str
    """Dtype as spelled in safetensors: `F32`, `BF16`, …"""
    shape: tuple[int, ...]
    file: Path
    start: int
    length: int

    @property
    def itemsize(self) -> int:
        """Bytes of one value, at least 1."""
        return max(BITS[self.dtype] // 8, 1)

    def chunks(self) -> Iterator[bytes]:
        """The tensor's bytes, in pieces."""
        with open_regular(self.file) as file:
            file.seek(self.start)
            remaining = self.length
            while remaining:
                piece = file.read(min(_CHUNK, remaining))
                if not piece:
                    raise DamagedCheckpoint(f"{self.file} ends inside {self.name!r}: copy the file again")
                remaining -= len(piece)
                yield piece

    def digest(self) -> str:
        """SHA-256 of the tensor's bytes."""
        digest = hashlib.sha256()
        for piece in self.chunks():
            digest.update(piece)
        return digest.hexdigest()


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name.

    Raises DamagedCheckpoint if the file is incomplete or inconsistent: the format requires the tensors end to end,
    each as long as its dtype and shape say, and nothing else.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, HEADER_BYTES):
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {name: _stored(path, 8 + length, name, entry) for name, entry in header.items()}
        end = 8 + length
        for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.length)):
            if tensor.start != end:
                raise ValueError(f"{tensor.name[:80]!r} begins at byte {tensor.start}, not {end}")
            end += tensor.length
        if end != size:
            raise ValueError(f"{end} bytes announced, {size} found")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise DamagedCheckpoint(
            f"{path} is not a complete safetensors file ({error}): copy or download it again"
        ) from error
    return tensors


def _stored(path: Path, data: int, name: str, entry: dict[str, Any]) -> StoredTensor:
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
        raise ValueError(f"{name[:80]!r} has the shape {shape!r:.80} from {begin!r:.80} to {end!r:.80}")
    if BITS[dtype] * math.prod(shape) != 8 * (end - begin):
        raise ValueError(
            f"{name[:80]!r} has {end - begin} bytes, which is not {dtype} of shape {shape!r:.80}"
        )
    return StoredTensor(name, dtype, shape, path, data + begin, end - begin)


def write_shard(path: Path, tensors: Iterable[StoredTensor], replaced: dict[str, bytes] | None = None) -> str:
    """Write `tensors` as one read-only, synced safetensors file and return its SHA-256.

    `replaced` gives new bytes for some of them, of the same dtype and shape.  Tensors with the widest items come
    first, so that every tensor is aligned to its item size, as the format requires.
    """
    replaced = replaced or {}
    ordered = sorted(tensors, key=lambda tensor: (-tensor.itemsize, tensor.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in ordered:
        end = offset + tensor.length
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (offset, end)}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(text, ordered, replaced):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(header: bytes, tensors: list[StoredTensor], replaced: dict[str, bytes]) -> Iterator[bytes]:
    yield struct.pack("<Q", len(header)) + header
    for tensor in tensors:
        if tensor.name not in replaced:
            yield from tensor.chunks()
            continue
        content = replaced[tensor.name]
        if len(content) != tensor.length:
            raise DamagedCheckpoint(
                f"{tensor.name!r}: {len(content)} bytes to write where the base has {tensor.length}"
            )
        yield content


def rounded(name: str, tensor: torch.Tensor, entry: StoredTensor) -> torch.Tensor:
    """`tensor` in the dtype in which it is stored and served, on the CPU.

    Raises CheckpointError if its shape differs, or if it is not finite after rounding.
    """
    import torch

    if tuple(tensor.shape) != entry.shape:
        raise CheckpointError(f"{name!r} has shape {tuple(tensor.shape)}, the base has {entry.shape}")
    result = tensor.detach().to("cpu", _torch_dtype(entry.dtype)).contiguous()
    if not bool(torch.isfinite(result).all()):
        raise CheckpointError(
            f"{name!r} is not finite in {entry.dtype}: the edit diverged; nothing was written"
        )
    return result


def encoded(name: str, tensor: torch.Tensor, entry: StoredTensor) -> bytes:
    """The bytes of `rounded`; raises the same CheckpointErrors."""
    import torch

    return rounded(name, tensor, entry).flatten().view(torch.uint8).numpy().tobytes()


def _torch_dtype(stored: str) -> torch.dtype:
    import torch

    return {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[stored]
