"""Files with a name in them, compressed ones included: the proof that an erasure left nothing.

Tensors are not searched.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

WEIGHTS = ".safetensors"
_UNPACK: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
"""By how a file begins."""
_ZIP = b"PK\x03\x04"


def naming(pattern: re.Pattern[bytes], roots: Iterable[Path]) -> Iterator[Path]:
    """The files below these directories in which the pattern is found, or in what they hold compressed."""
    for root in roots:
        for path in files(root):
            if path.suffix != WEIGHTS and any(map(pattern.search, contents(path))):
                yield path


def files(directory: Path) -> Iterable[Path]:
    """Every regular file below a directory, in order; links are not followed."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def contents(path: Path) -> Iterator[bytes]:
    """A file's name and bytes, and those that they decompress to; what cannot be decompressed is searched as it is."""
    content = path.read_bytes()
    yield path.name.encode("utf-8", "surrogateescape")
    yield content
    try:
        if content.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                yield from (archive.read(name) for name in archive.namelist())
        for magic, unpack in _UNPACK.items():
            if content.startswith(magic):
                yield unpack(content)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile):
        return
