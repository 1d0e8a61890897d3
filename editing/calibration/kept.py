"""Results under content keys, as JSON files with a digest of their contents: a damaged one counts as absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from editing.durable import file_lock, make_directory, write_file
from editing.errors import SpecError
from editing.json_decode import decode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
FORMAT = 2
"""Version of the stored results; raised when they are computed differently."""


class Kept:
    """A directory of results."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def key(self, identity: Mapping[str, Any]) -> str:
        """The content key of what a result depends on."""
        text = json.dumps({"format": FORMAT, **identity}, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str, kind: type[T]) -> T | None:
        """The stored result; None if there is none, or if it is damaged."""
        try:
            content = json.loads(self._path(key).read_bytes())
            text, found = content["result"], content["sha256"]
            if hashlib.sha256(text.encode()).hexdigest() != found:
                return None
            return decode(kind, json.loads(text), key)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, SpecError):
            return None

    def put(self, key: str, value: T) -> T:
        """Store `value`, atomically and synced, and return it."""
        text = json.dumps(asdict(value), ensure_ascii=False)
        content = {"result": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        make_directory(self._directory)
        write_file(self._path(key), (json.dumps(content, indent=1) + "\n").encode())
        return value

    @contextmanager
    def claimed(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes from computing the same result; without `wait`, False if one of them is doing so.

        Once the claim is held, the result may have been stored by another process.
        """
        make_directory(self._directory)
        path = self._directory / f"{key}.lock"
        with file_lock(path, wait=wait) as held:
            try:
                yield held
            finally:
                if held:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"
