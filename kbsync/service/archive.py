"""The format of a backup: a tar archive whose last member lists the others with their hashes.

    ledger.db                 the ledger, as one SQLite file whatever its database is
    kbsync.toml               the settings
    anchors.jsonl             the anchor file, for comparison
    archive/…                 the events that were moved out of the ledger, and what belongs to them
    cache/deltas/…            the optimised residuals, and in cache/prefixes/… their context prefixes
    cache/networks/…          the trained networks of MEND, if there are any
    cache/stats/…             the statistics of the base, if requested
    backup.json               format, version, when and where, the log's head, SHA-256 of every other member

The last member is written last, so a truncated archive has none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from editing.durable import staged
from editing.errors import EditingError
from editing.json_decode import decode
from kbsync.errors import BadData, NoInput

FORMAT = 1
CONTENTS = "backup.json"
LEDGER = "ledger.db"
SETTINGS = "kbsync.toml"
ANCHORS = "anchors.jsonl"
_NAME = re.compile(r"(?:archive/|cache/(?:deltas|networks|prefixes|stats)/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CHUNK = 1 << 20
_MOST_CONTENTS = 1 << 28


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a backup, and the ledger it was taken from."""

    format: int
    version: str
    """Version of kbsync."""
    made: str
    """Time of the backup, in UTC."""
    home: str
    """Path of the home, and its machine."""
    instance: str
    revision: str
    """Version of the ledger's tables."""
    head: int
    """Number of the newest event."""
    hash: str
    """Hash of the newest event; empty in an empty log."""
    files: dict[str, str]
    """SHA-256 of every other member."""


def write(target: Path, members: Iterable[tuple[str, Path]], contents: Mapping[str, Any]) -> Contents:
    """Write the archive atomically and synced, readable only by its owner.

    `contents`: everything of `Contents` except the files.  A member whose file has meanwhile been removed is left
    out.  Raises OSError.
    """
    files: dict[str, str] = {}
    with staged(target, 0o600) as out, tarfile.open(fileobj=out, mode="w") as archive:
        for name, path in members:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                files[name] = _add(archive, name, file, os.fstat(file.fileno()).st_size)
        made = Contents(files=files, **contents)
        text = json.dumps(asdict(made), indent=1, sort_keys=True).encode() + b"\n"
        _add(archive, CONTENTS, io.BytesIO(text), len(text))
    return made


def extract(source: Path, into: Path) -> Contents:
    """Unpack an archive into an empty directory and verify every byte; returns its contents.

    Raises NoInput if there is no such file, BadData if it is not a complete backup.
    """
    try:
        with source.open("rb") as file:
            found = _unpack(file, source, into)
    except FileNotFoundError as error:
        raise NoInput(f"there is no backup {source}", "name the file that `kbsync backup` wrote") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _damaged(source, str(error)) from error
    contents = _contents(into / CONTENTS, source)
    missing = contents.files.keys() - found.keys()
    if missing or LEDGER not in found:
        raise _damaged(source, f"it lacks {min(missing, default=LEDGER)}")
    for name, digest in found.items():
        if contents.files.get(name) != digest:
            raise _damaged(source, f"{name} was changed after it was written")
    return contents


def _unpack(file: IO[bytes], source: Path, into: Path) -> dict[str, str]:
    """SHA-256 of each member that was unpacked, except of the last."""
    found: dict[str, str] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = member.name
            if not member.isfile() or not _NAME.fullmatch(name) or name in found:
                raise _damaged(source, f"{name!r} is not a member of a backup")
            if name == CONTENTS and member.size > _MOST_CONTENTS:
                raise _damaged(source, f"{name} is too large")
            content = archive.extractfile(member)
            assert content is not None
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                digest = _copy(content, out)
                out.flush()
                os.fsync(out.fileno())
            if name != CONTENTS:
                found[name] = digest
    return found


def _contents(file: Path, source: Path) -> Contents:
    try:
        value = json.loads(file.read_bytes())
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise BadData(
                f"{source} was written in another format than {FORMAT}",
                "restore it with the version that wrote it",
            )
        return decode(Contents, value, CONTENTS)
    except FileNotFoundError:
        raise _damaged(source, f"it has no {CONTENTS}, so it is probably truncated") from None
    except (ValueError, RecursionError, EditingError) as error:
        raise _damaged(source, f"{CONTENTS} cannot be read ({error})") from error


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> str:
    """Add one member; returns its SHA-256."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    reader = _Hashing(file)
    archive.addfile(info, reader)
    return reader.digest.hexdigest()


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        return piece


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_CHUNK):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()


def _damaged(source: Path, why: str) -> BadData:
    return BadData(f"{source} is not a complete backup: {why}", "use another backup")
