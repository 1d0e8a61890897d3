"""Files that a drop folder keeps after they were read: in `done/`, and in `rejected/` those that could not be used.

As in `drop_folder.py`, everything is accessed through descriptors and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from connectors.rows.drop_folder import DONE, REJECTED

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def kept_since_before(folder: Path, before: datetime) -> list[str]:
    """`done/NAME` and `rejected/NAME` of the files that were moved there before then, with their lists of rejects.

    A file's status changes when it is moved, and no program can set that time back.  Hidden files are kbsync's own.
    """
    found = []
    for place in (DONE, REJECTED):
        with _opened(folder / place) as directory:
            for name in sorted(os.listdir(directory)) if directory is not None else ():
                with suppress(FileNotFoundError):  # removed by its owner meanwhile
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    is_old = status.st_ctime < before.timestamp()
                    if stat.S_ISREG(status.st_mode) and is_old and not name.startswith("."):
                        found.append(f"{place}/{name}")
    return found


def delete_kept(folder: Path, names: list[str]) -> None:
    """Deletes what `kept_since_before` found; files that are gone are passed over."""
    for place in (DONE, REJECTED):
        with _opened(folder / place) as directory:
            for name in names if directory is not None else ():
                if name.startswith(f"{place}/"):
                    with suppress(FileNotFoundError):
                        os.unlink(name.removeprefix(f"{place}/"), dir_fd=directory)


@contextmanager
def _opened(directory: Path) -> Iterator[int | None]:
    """A descriptor of the directory; None where there is none, or a link in its place."""
    try:
        descriptor = os.open(directory, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError:
        if directory.is_symlink():
            yield None
            return
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)
