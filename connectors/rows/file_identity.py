"""The identity of a dropped file: whether a file is still the one that was read.

An identity is a digest of the file's bytes, its inode, and the times of its last modification and change, so
that the same bytes dropped again differ.  A rename changes the last of them: a file that is moved back from
`done/` differs too.  Cursors of older versions hold the digest alone, or no time of change.
"""

from __future__ import annotations

import hashlib
import os


def identity_of(data: bytes, status: os.stat_result) -> str:
    """The identity of a file with these bytes and this status."""
    digest = hashlib.sha256(data).hexdigest()
    return f"{digest}:{status.st_ino}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def digest_in(identity: str) -> str:
    """The digest of the file's bytes."""
    return identity.partition(":")[0]


def same(found: str, remembered: str) -> bool:
    """Whether it is the same file, whatever its name and time of change are now."""
    parts = min(3, remembered.count(":") + 1)
    return found.split(":")[:parts] == remembered.split(":")[:parts]


def touched(status: os.stat_result, identity: str) -> bool:
    """Whether a file was moved, replaced or written since it was read as `identity`, as its status shows."""
    parts = identity.split(":")
    return len(parts) == 4 and parts[3] != f"{status.st_ctime_ns}"
