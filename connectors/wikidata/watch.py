"""The watch list: its subjects, and a digest of it that fits into a cursor."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from connectors.cursors import pack, unpack
from connectors.errors import SourceDataError, SourceSettingsError
from connectors.namespaces import Namespaces
from connectors.wikidata.split_graph import SplitGraph

_BUCKETS = 1024
_DIGEST_BYTES = 4
_PACKED = 20_000
"""Longer watch lists are not kept by name: what leaves them is found by the next reconcile."""


def from_file(path: Path) -> tuple[str, ...]:
    """CURIEs, one per line.  Raises SourceSettingsError when the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceSettingsError(f"subjects_file: {path} cannot be read: {error}") from error
    return tuple(word for line in lines if (word := line.partition("#")[0].strip()))


def listed(subjects: Iterable[str], file: Path | None) -> set[str]:
    """The subjects that settings name, and those in the file that they name, which is read each time, since it may have
    been edited.  Raises SourceSettingsError when the file cannot be read."""
    return {*subjects, *(from_file(file) if file is not None else ())}


def from_query(
    client: SplitGraph, query: str, namespaces: Namespaces, setting: str = "subjects_query"
) -> tuple[str, ...]:
    """CURIEs of the IRIs bound to the only variable of the query, which `setting` asks for.

    Raises SourceDataError when the query finds nothing (a watch list does not empty itself) or
    binds several variables.
    """
    rows = client.select(query)
    names = {name for row in rows for name in row}
    if not rows:
        raise SourceDataError(f"{client.endpoint}: {setting} finds no subjects; check it")
    if len(names) != 1:
        raise SourceDataError(
            f"subjects_query must select exactly one variable, but it binds {sorted(names)}"
        )
    (name,) = names
    found = [namespaces.compact(row[name].value) for row in rows if name in row and row[name].kind == "uri"]
    return tuple(id for id in found if namespaces.expands(id))


class Membership:
    """Which (subject, relations) a watch list covers, in 5.5 kB whatever its length.

    The last change of a subject that *enters* a watch list may be years older than the cursor, so its
    modification time does not reveal it.  Therefore the cursor stores what was covered, as one short digest
    for each of 1,024 hash buckets of subjects.  A bucket whose digest changed holds new subjects, and all of
    its subjects are read; with up to a few thousand subjects these are hardly more than the new ones.
    """

    def __init__(self, subjects: Iterable[str], relations: Iterable[str]) -> None:
        salt = " ".join(sorted(relations)).encode()
        buckets = [hashlib.sha256(salt) for _ in range(_BUCKETS)]
        for subject in sorted(set(subjects)):
            buckets[_bucket(subject)].update(subject.encode() + b"\0")
        self._digests = b"".join(bucket.digest()[:_DIGEST_BYTES] for bucket in buckets)
        self.text = base64.b85encode(self._digests).decode()

    def is_covered_by(self, text: str, subject: str) -> bool:
        """Whether the watch list of which `text` was kept certainly held `subject` already."""
        return _digest(_decoded(text), subject) == _digest(self._digests, subject)


@lru_cache(maxsize=4)
def _decoded(text: str) -> bytes:
    """One text is asked about for every subject of a list, and decoding it takes a millisecond."""
    return base64.b85decode(text)


def packed(ids: Iterable[str]) -> str:
    """The ids in a few bytes each; nothing when there are so many that a cursor should not carry them."""
    members = sorted(set(ids))
    if len(members) > _PACKED:
        return ""
    return pack("\n".join(members))


def unpacked(text: str) -> frozenset[str]:
    """The inverse of `packed`."""
    return frozenset(unpack(text).splitlines()) if text else frozenset()


def _bucket(subject: str) -> int:
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") % _BUCKETS


def _digest(digests: bytes, subject: str) -> bytes:
    start = _bucket(subject) * _DIGEST_BYTES
    return digests[start : start + _DIGEST_BYTES]
