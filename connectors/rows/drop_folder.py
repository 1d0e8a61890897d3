"""A folder that others write to, used so that nothing outside it is read or written.

Anyone who can drop a file can also drop a link, a pipe, or a file with a name that kbsync is about to use.
So the folder is held open and everything in it is accessed through that descriptor, without following
links.  Only regular files with a single name are read.  kbsync writes under a random name (O_EXCL) that
cannot exist already and renames the file into place, and a dropped file is never overwritten.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from connectors.border import shown
from connectors.errors import SourceDataError, SourceUnavailable
from connectors.rows import read_log
from connectors.rows.file_identity import digest_in, identity_of, same, touched
from connectors.rows.read_log import ReadFile

REJECTS = ".rejects.jsonl"
DONE = "done"
REJECTED = "rejected"
"""The folder of files in which nothing could be used."""
_CLAIM = ".claimed-"
_TEMPORARY = ".kbsync-"
_MAX_NAME = 200
"""Bytes of a name: file systems allow 255, and kbsync appends to names and puts a prefix before them."""
_UNPRINTABLE = re.compile(r"[^ -~]")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_READABLE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EACCES, errno.EPERM)
"""Errors when opening a link, a socket or a file without permission."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file that was read completely."""

    name: str
    data: bytes
    mode: int
    identity: str
    """See `connectors.rows.file_identity`."""


class Refused(SourceDataError):
    """A name in the folder does not belong to a file that may be read."""


class DropFolder:
    """The folder at `path`, held open.  All names are plain names in it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._folder = descriptor

    @classmethod
    @contextmanager
    def opened(cls, source: str, path: Path) -> Iterator[DropFolder]:
        """Open the folder for the duration of the block.

        Raises SourceUnavailable when the folder is missing, and for every OSError in the block.
        """
        try:
            descriptor = os.open(path, _FOLDER)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceUnavailable(
                f"{source}: there is no folder {path}; create it, or correct `folder` in the settings"
            ) from error
        except OSError as error:
            raise SourceUnavailable(f"{source}: {path} cannot be opened: {error.strerror}") from error
        try:
            yield cls(path, descriptor)
        except OSError as error:
            raise SourceUnavailable(f"{source}: {path}: {error.strerror}: {shown(error.filename)}") from error
        finally:
            os.close(descriptor)

    def names(self) -> list[str]:
        """All names in the folder, sorted; temporary files of killed kbsync processes are removed."""
        found = os.listdir(self._folder)
        for name in found:
            if name.startswith(_TEMPORARY):
                with suppress(
                    IsADirectoryError, PermissionError
                ):  # a folder of somebody else under this name
                    _unlink(self._folder, name)
        return sorted(name for name in found if not name.startswith(_TEMPORARY))

    def read(self, name: str, most: int, *, linked: bool = False) -> Dropped | None:
        """Read the whole file; None if it is being written, or is gone.

        Raises Refused for anything but a regular file, for more than `most` bytes, and for a file with a
        second name unless `linked`.
        """
        try:
            descriptor = os.open(name, _READ, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_READABLE:
                raise Refused(self._refusal(name, error)) from error
            raise
        try:
            before = os.fstat(descriptor)
            _require_file(name, before, linked)
            _require_size(name, before, most)
            data = _read_all(descriptor, most + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if changed or len(data) != after.st_size:
            return None
        return Dropped(name, data, stat.S_IMODE(after.st_mode), identity_of(data, after))

    def refusals(self, names: Iterable[str], most: int) -> dict[str, str]:
        """Why each name may not be read; names that may be read are absent.  Reads no file.

        `most`: maximum bytes of a file.
        """
        found = {}
        for name in names:
            try:
                _require_name(name)
                status = _stat(self._folder, name)
                _require_file(name, status)
                _require_size(name, status, most)
                self._require_usable(name)
            except Refused as error:
                found[name] = str(error)
            except FileNotFoundError:
                continue
        return found

    def _require_usable(self, name: str) -> None:
        """Require a name and permissions with which the file can be read, and its rejects written."""
        if (size := len(name.encode())) > _MAX_NAME:
            raise Refused(f"{shown(name)}: its name has {size} bytes, more than {_MAX_NAME}; rename it")
        if not os.access(name, os.R_OK, dir_fd=self._folder, effective_ids=True):
            raise Refused(f"{shown(name)} cannot be read: {os.strerror(errno.EACCES)}")
        with suppress(FileNotFoundError):  # it has no rejects, as most files
            if stat.S_ISDIR(_stat(self._folder, name + REJECTS).st_mode):
                raise Refused(f"{shown(name)}: {shown(name + REJECTS)} is a folder; remove it")

    def write_rejects(self, dropped: Dropped, rejects: Iterable[Mapping[str, Any]]) -> None:
        """Write `NAME.rejects.jsonl` with permissions no wider than the file's; remove it if there are no rejects."""
        beside = dropped.name + REJECTS
        lines = [json.dumps(reject, ensure_ascii=False) for reject in rejects]
        if not lines:
            _unlink(self._folder, beside)
            return
        temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
        descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=self._folder)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600 | dropped.mode & 0o044)
            file.writelines(_escaped(line) + "\n" for line in lines)
        os.rename(temporary, beside, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def move_aside(self, file: ReadFile, most: int, where: str = DONE) -> None:
        """Move the file to the folder `where`, with its rejects, if it is still the file that was read.

        The file is claimed by a rename before it is compared, since a writer may replace it at any moment.
        """
        name = file.name
        _require_name(name)
        with self._inner(where) as aside:
            claim = _CLAIM + name
            if not _exists(aside, claim):
                if not _exists(self._folder, name) or touched(_stat(self._folder, name), file.identity):
                    return
                os.rename(name, claim, src_dir_fd=self._folder, dst_dir_fd=aside)
            mine = DropFolder(self.path / where, aside)
            try:
                claimed = mine.read(claim, most, linked=True)
            except SourceDataError:  # a link, or grown beyond all bounds: not what was read
                claimed = None
            prefix = _prefix(file.identity)
            if claimed is None or not same(claimed.identity, file.identity):
                _move(aside, claim, self._folder, name, prefix)
                return
            if where == DONE:
                read_log.append(aside, file)
            target = _move(aside, claim, aside, name, prefix)
            if _exists(self._folder, name + REJECTS):
                _move(self._folder, name + REJECTS, aside, target + REJECTS, prefix)

    def read_after(self, revision: int, most: int) -> Iterator[tuple[ReadFile, Dropped | None]]:
        """The files in `done/` that were read with greater revisions, in the order in which they were read.

        None stands for a file that is not there any more, or that is not the one that was read.
        """
        with self._inner(DONE) as done:
            mine = DropFolder(self.path / DONE, done)
            for file in read_log.read_after(done, revision):
                yield file, mine._find(file, most)

    def _find(self, file: ReadFile, most: int) -> Dropped | None:
        """The file, under whichever name was free when it was moved here."""
        names = _free_names(file.name, _prefix(file.identity))
        for name in takewhile(lambda name: _exists(self._folder, name), names):
            try:
                found = self.read(name, most, linked=True)
            except SourceDataError:  # a link, or too large: not what was read
                found = None
            if found is not None and digest_in(found.identity) == digest_in(file.identity):
                return found
        return None

    @contextmanager
    def _inner(self, name: str) -> Iterator[int]:
        with suppress(FileExistsError):  # from an earlier poll
            os.mkdir(name, dir_fd=self._folder)
        try:
            descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._folder)
        except OSError as error:
            raise SourceUnavailable(
                f"{self.path / name} must be a folder, not a link to one ({error.strerror}); remove it"
            ) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _refusal(self, name: str, error: OSError) -> str:
        try:
            _require_file(name, _stat(self._folder, name))
        except Refused as refused:
            return str(refused)
        except OSError as gone:
            error = gone
        return f"{shown(name)} cannot be read: {error.strerror}"


def _require_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refused(f"{shown(name)}: its name is not UTF-8; rename it") from None
    if "/" in name or name in ("", ".", ".."):
        raise Refused(f"{shown(name)} is not a file name")


def _require_file(name: str, status: os.stat_result, linked: bool = False) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise Refused(f"{shown(name)} is a link; put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown(name)} is not a regular file")
    if status.st_nlink > 1 and not linked:
        raise Refused(f"{shown(name)} is a hard link to a file that has other names; put a copy there")


def _require_size(name: str, status: os.stat_result, most: int) -> None:
    if status.st_size > most:
        raise Refused(
            f"{shown(name)}: {status.st_size} bytes; at most {most} are read: split it, or raise `max_bytes`"
        )


def _prefix(identity: str) -> str:
    return identity[:8]


def _free_names(wanted: str, prefix: str) -> Iterator[str]:
    """The names under which a file is put where `wanted` may be taken, best first."""
    yield wanted
    for number in count(1):
        yield f"{prefix}-{number}-{wanted}"


def _read_all(descriptor: int, most: int) -> bytes:
    data = bytearray()
    while piece := os.read(descriptor, min(2**20, most - len(data))):
        data += piece
    return bytes(data)


def _stat(folder: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _exists(folder: int, name: str) -> bool:
    try:
        _stat(folder, name)
    except FileNotFoundError:
        return False
    return True


def _unlink(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):  # already removed by another process
        os.unlink(name, dir_fd=folder)


def _move(source: int, name: str, target: int, wanted: str, prefix: str) -> str:
    """Rename without ever replacing a file, since file names repeat; returns the name that was free."""
    names = _free_names(wanted, prefix)
    while True:
        free = next(names)
        if not _exists(target, free):
            if _link(source, name, target, free):
                return free
        elif os.path.samestat(_stat(source, name), _stat(target, free)):
            os.unlink(name, dir_fd=source)  # an earlier move was killed between link and unlink
            return free


def _link(source: int, name: str, target: int, free: str) -> bool:
    """Move by a hard link, since a rename would replace; False if the name was taken meanwhile."""
    try:
        os.link(name, free, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A directory, or a file system without hard links: a rename is what there is.
        os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)
    else:
        os.unlink(name, dir_fd=source)
    return True


def _escaped(line: str) -> str:
    """JSON in which every character that does not print, and every lone surrogate, is `\\uXXXX`."""
    return line if line.isprintable() else _UNPRINTABLE.sub(_as_escape, line)


def _as_escape(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]
