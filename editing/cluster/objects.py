"""An object store, such as S3, as the storage that machines without a common file system share.

Credentials and the endpoint come from the usual environment of each machine, such as `AWS_ACCESS_KEY_ID` and
`AWS_ENDPOINT_URL` (https://docs.rs/object_store).  An upload is atomic: readers see nothing, or the whole object.
Free of torch and Ray.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from editing.durable import link_or_copy, make_directory, staged, writing
from editing.errors import ClusterError, SpecError

PATIENCE = timedelta(minutes=3)
"""How long a request that fails is repeated before it is an error."""
RETRIES = 12
CHECK_S = 10.0
"""The same where only is looked whether the store can be reached."""
PARALLEL = 16
"""Requests at a time."""
Moved = Callable[[int, int], object]
"""Called with (done, total)."""
_CHUNK = 8 << 20
_ADVICE = (
    "check that the bucket exists, that this machine reaches it, and that its environment has the credentials "
    "(docs/cluster.md); what was finished is kept, and the next attempt resumes from there"
)


def _unseen(done: int, total: int) -> None:
    """Nobody follows."""


class Objects:
    """The objects below one URL, such as `s3://bucket/prefix`.

    Methods raise ClusterError if the store refuses, or fails for longer than `patience`.
    """

    def __init__(self, url: str, patience: timedelta = PATIENCE) -> None:
        """Raises SpecError for a URL that names no store, or if obstore is not installed.  Nothing is contacted."""
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise SpecError(
                f"an object store needs obstore ({error}): install the extra, pip install 'kbsync[object-store]'"
            ) from error
        self.url = url
        self._api: Any = obstore
        self._failures = (BaseError, OSError, ValueError)
        try:
            self._store: Any = from_url(url, retry_config={"max_retries": RETRIES, "retry_timeout": patience})
        except (BaseError, ValueError) as error:
            raise SpecError(
                f"{url} is not an object store: {first_line(error)}; write s3://BUCKET/PREFIX"
            ) from error

    def put(self, name: str, content: bytes | Path) -> None:
        """Store a file or bytes under `name`, in place of what was there."""
        with self._reported("cannot write", name):
            self._api.put(self._store, name, content)

    def get(self, name: str) -> bytes | None:
        """The object; None if there is none."""
        with self._reported("cannot read", name):
            try:
                return bytes(self._api.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def fetch(self, name: str, path: Path, sha256: str | None = None) -> bool:
        """Write the object to `path`, atomically; returns whether there is one.

        Raises ClusterError if `sha256` is given and the contents have another digest, StorageError.
        """
        with self._reported("cannot read", name):
            try:
                chunks = self._api.get(self._store, name).stream(min_chunk_size=_CHUNK)
            except FileNotFoundError:
                return False
        make_directory(path.parent)
        digest = hashlib.sha256()
        with writing(path), staged(path, 0o666) as file:
            for chunk in self._received(chunks, name):
                digest.update(chunk)
                file.write(chunk)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise ClusterError(
                    f"{self.url}/{name} is damaged: SHA-256 {digest.hexdigest()}, expected {sha256}; remove the "
                    "object, and the next attempt stores it again"
                )
        return True

    def names(self, prefix: str) -> Iterator[str]:
        """The names of all objects in the folder `prefix`, which is part of them."""
        with self._reported("cannot list", prefix):
            for chunk in self._api.list(self._store, prefix):
                for found in chunk:
                    yield str(found["path"])

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        with self._reported("cannot remove", name):
            try:
                self._api.delete(self._store, name)
            except FileNotFoundError:
                return

    def put_all(self, files: Mapping[str, Path], moved: Moved = _unseen) -> None:
        """Store several files, by name; `moved` is called with (done, total)."""
        self.each(lambda name: self.put(name, files[name]), list(files), moved)

    def fetch_all(self, files: Mapping[str, Path], moved: Moved = _unseen) -> None:
        """`fetch` for those of several objects that there are, by name."""
        self.each(lambda name: self.fetch(name, files[name]), list(files), moved)

    def each(self, do: Callable[[str], object], names: Sequence[str], moved: Moved) -> None:
        """Do something with each name, several at a time; raises the first error."""
        if not names:
            return
        moved(0, len(names))
        with ThreadPoolExecutor(PARALLEL) as pool:
            waiting = [pool.submit(do, name) for name in names]
            try:
                for done, one in enumerate(as_completed(waiting), 1):
                    one.result()
                    moved(done, len(names))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def check(self) -> None:
        """Write an object, read it, list it and remove it."""
        name, content = f"checks/{secrets.token_hex(8)}", secrets.token_bytes(32)
        self.put(name, content)
        try:
            if self.get(name) != content or name not in self.names("checks"):
                raise ClusterError(f"{self.url} does not return what was written to it; {_ADVICE}")
        finally:
            self.remove(name)

    def _received(self, chunks: Any, name: str) -> Iterator[bytes]:
        with self._reported("cannot read", name):
            for chunk in chunks:
                yield cast("bytes", chunk)

    @contextmanager
    def _reported(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise ClusterError(f"{what} {self.url}/{name}: {first_line(error)}; {_ADVICE}") from error


class Blobs:
    """Files by the SHA-256 of their contents, which is verified when one is read, in a folder of the store."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects, self._folder = objects, folder
        self._used: set[str] = set()
        """Digests that are known to be there."""

    def offer(self, files: Mapping[str, Path], moved: Moved = _unseen) -> None:
        """Store those files, given by digest, that the store lacks."""
        missing = files.keys() - self._used
        if missing:
            missing -= {name.rpartition("/")[2] for name in self._objects.names(self._folder)}
        self._objects.put_all({self._name(digest): files[digest] for digest in sorted(missing)}, moved)
        self._used |= files.keys()

    def fetch(self, files: Sequence[tuple[str, Path]], moved: Moved = _unseen) -> None:
        """Write files, given by digest and path.  Raises ClusterError if the store lacks one, or has something else."""
        paths = dict(files)

        def fetch(digest: str) -> None:
            if not self._objects.fetch(self._name(digest), paths[digest], digest):
                raise ClusterError(
                    f"{self._objects.url}/{self._name(digest)} is missing, which this build needs: repeat the build, "
                    "which stores it again"
                )

        self._objects.each(fetch, list(paths), moved)
        self._used |= paths.keys()
        for digest, path in files:
            if paths[digest] != path:
                link_or_copy(paths[digest], path)

    def remove(self) -> None:
        """Remove what was offered or fetched from the store."""
        for digest in sorted(self._used):
            self._objects.remove(self._name(digest))
        self._used = set()

    def _name(self, digest: str) -> str:
        return f"{self._folder}/{digest}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
