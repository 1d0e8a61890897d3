"""Anchors: heads of the event chain, kept in a file that the daemon cannot rewrite.

Who owns the tables can write a new history with good hashes; a head written down elsewhere before is what
such a history cannot match.  The file is JSON lines, `{"seq": …, "hash": …, "at": …, "note": …}`, oldest first, and
it only grows, so that it may lie on append-only or write-once storage.  `note` is the signed tree head; lines without
one were written while there was no key.

A line that a crash left unfinished was never a record: it is cut off when the next one is written or, where
the storage only appends, ended and passed over from then on.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from datetime import datetime
from pathlib import Path

from state.errors import AnchorMissing, Damaged, Unreachable
from state.hash_chain import instant
from state.notes import Note, TreeHead
from state.records import Anchor

_HASH = re.compile(r"[0-9a-f]{64}")
_MOST = (1 << 63) - 1
"""Highest number that a database can compare with."""
_BEGINNING = b'{"seq": '


def read_anchors(path: Path) -> tuple[Anchor, ...]:
    """Every anchor of the file, in its order; none for an empty file.

    Raises AnchorMissing where there is no file, Unreachable where it cannot be read, and Damaged, naming
    the line, where it is not an anchor file.
    """
    content = _content(path)
    if content is None:
        raise AnchorMissing(f"there is no anchor file {path}: name the one that `kbsync audit anchor` wrote")
    return _parse(path, content)


def append(path: Path, anchor: Anchor) -> None:
    """Add an anchor to the file, which is created where it does not exist, and sync it.

    Raises Unreachable where it cannot be written.
    """
    values = {"seq": anchor.seq, "hash": anchor.hash, "at": instant(anchor.at)}
    if anchor.note:
        values["note"] = anchor.note
    line = json.dumps(values).encode() + b"\n"
    try:
        _finish(path)
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unreachable(path, error) from error


def read_for_appending(path: Path) -> tuple[Anchor, ...]:
    """As `read_anchors`, but a file that does not exist yet holds no anchors."""
    content = _content(path)
    return () if content is None else _parse(path, content)


def _content(path: Path) -> bytes | None:
    try:
        # A pipe would block until somebody writes to it, and what is written to a device cannot be read again.
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreachable(path, error) from error


def _parse(path: Path, content: bytes) -> tuple[Anchor, ...]:
    anchors = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            anchors.append(_anchor(line))
        except (ValueError, KeyError, TypeError, RecursionError, Damaged) as error:
            if _is_unfinished(line):
                continue
            raise Damaged(
                f"{path} is not an anchor file: line {number} is not a JSON object with seq, hash and at ({error})"
            ) from None
    return tuple(anchors)


def _anchor(line: bytes) -> Anchor:
    value = json.loads(line.decode("utf-8"))
    seq, hash, at = value["seq"], value["hash"], datetime.fromisoformat(value["at"])
    if type(seq) is not int or not 1 <= seq <= _MOST:
        raise ValueError(f"{seq!r:.30} is not an event number")
    if not isinstance(hash, str) or _HASH.fullmatch(hash) is None:
        raise ValueError(f"{hash!r} is not a hash")
    if at.tzinfo is None:
        raise ValueError("its instant has no time zone")
    note = value.get("note", "")
    if note and TreeHead.parse(Note.parse(note).text).size != seq:
        raise ValueError("its tree head is of another size")
    return Anchor(seq, hash, at, note)


def _is_unfinished(line: bytes) -> bool:
    """Whether a crash can have left this of a line of ours: its beginning, or blocks of zeros."""
    kept = line.rstrip(b"\0")
    return kept[: len(_BEGINNING)] == _BEGINNING[: len(kept)] and not kept.endswith(b"}")


def _finish(path: Path) -> None:
    """See that the next line starts on one of its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole, newline, rest = content.rpartition(b"\n")
    if not rest:
        return
    if _is_unfinished(rest):
        try:
            os.truncate(path, len(whole) + len(newline))
        except PermissionError:  # storage that only appends
            pass
        else:
            return
    with path.open("ab") as file:
        file.write(b"\n")


def _unreachable(path: Path, error: OSError) -> Unreachable:
    return Unreachable(
        f"the anchor file {path} cannot be read and written ({error.strerror or error}): "
        "check the path, its owner and its permissions"
    )
