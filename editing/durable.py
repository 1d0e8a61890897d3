"""Atomic and durable writes: after a crash or power loss, a file or directory is complete or absent.

The order is always the same: write under a temporary name, fsync the contents, rename, fsync the parent
directory.  Torch-free.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from editing.errors import StorageError

STAGING = ".staging-"
"""Prefix of unfinished files; they may be deleted when no process is writing."""

LOCK = ".lock"
"""Name of the file whose lock says that its directory is in use."""

_CHUNK = 1 << 20
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}


def staging_name(final: Path) -> Path:
    """A new temporary name in the directory of `final`, marked as unfinished."""
    return final.parent / f"{STAGING}{final.name}-{os.getpid()}-{secrets.token_hex(4)}"


def fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Make the names in `path` durable (POSIX: renaming a file does not sync its directory)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EFBIG: "allow larger files (ulimit -f), or choose another place",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EROFS: "mount it for writing, or choose another place",
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def advice_when_full(error: OSError) -> str | None:
    """What to do about a disk or a quota that is full, or a limit that is reached; None for any other error."""
    return _ADVICE[error.errno] if error.errno in _FULL else None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an OSError raised in the block while writing `path` into a StorageError with advice."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "look at the disk and its file system")
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; {advice}, then repeat: what was finished is kept"
        ) from error


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents; raises StorageError."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write `path` so that a reader sees either the old contents or all of `content`; raises StorageError.

    `mode`: permissions of the new file, before the process's umask is applied.
    """
    with writing(path), staged(path, mode) as file:
        file.write(content)


@contextmanager
def staged(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block ends, complete and durable, and is removed if the block raises.

    `mode`: permissions of the new file, before the process's umask is applied.  Raises OSError.
    """
    temporary = staging_name(path)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the advisory lock of `path`, a file of its own, until the block ends (flock(2)).

    Yields whether it is held; without `wait`, False if another process has it.  A killed process leaves none behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        held = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> tuple[str, ...]:
    """Remove unfinished files of killed writers from `directory`; returns their names.

    Call it only while no other process writes there.
    """
    if not directory.is_dir():
        return ()
    names = sorted(entry.name for entry in os.scandir(directory) if entry.name.startswith(STAGING))
    for name in names:
        remove(directory / name)
    return tuple(names)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link `source` as `target`; copy and fsync where the file system does not allow it."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        target.chmod(0o444)
        fsync_file(target)


def open_regular(path: Path) -> BufferedReader:
    """Open `path` for reading; raises OSError immediately if it is not a regular file.

    Opening a pipe would block until another process writes to it, and a device may be endless.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        buffer = memoryview(bytearray(_CHUNK))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
