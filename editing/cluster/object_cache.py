"""The cache in an object store: what a local directory of it lacks is fetched, and what is new is sent at once.

δs and second moments have digests inside (`tensor_cache`), so a damaged object counts as absent and is computed again.
Decompositions, partial sums and measured rates are not sent: they are large, or of one machine.  Free of torch and Ray.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from editing.cluster.objects import Objects

TENSORS = ("deltas", "stats", "keys")
"""Folders of tensors, each file sent as soon as it is complete."""
PASSED = ("keys",)
"""Those of them whose files serve one build (`editing/memit/key_pass.py`)."""
DRAWN = ("prefixes", "samples", "self-tests")
"""Folders of small files, which every machine has to have in common: fetched before a round, and sent after it."""
_OF_ONE_MACHINE = ("*.partial", "*-factor*", "*-eigen*", "drawn-*", ".*")


class ObjectCache:
    """The mirror (`editing.mirror`) of the cache directory `root`; raises what `Objects` raises."""

    def __init__(self, objects: Objects, root: Path) -> None:
        self._objects, self._root = objects, root

    def present(self, paths: Sequence[Path]) -> Collection[Path]:
        missing = [path for path in paths if not path.exists()]
        folders = {path.parent for path in missing if self._name(path)}
        listed = {path for folder in folders for path in self._listed(folder)}
        return {*(set(paths) - set(missing)), *(set(missing) & listed)}

    def fetch(self, paths: Sequence[Path]) -> None:
        wanted = {name: path for path in paths if not path.exists() and (name := self._name(path))}
        self._objects.fetch_all(wanted)

    def stored(self, path: Path) -> None:
        if name := self._name(path):
            self._objects.put(name, path)

    def matching(self, directory: Path, pattern: str) -> list[Path]:
        listed = {path for path in self._listed(directory) if fnmatchcase(path.name, pattern)}
        return sorted(listed | set(directory.glob(pattern)))

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if name := self._name(path):
            self._objects.remove(name)

    def fetch_drawn(self) -> None:
        """Fetch the small files that a round may read."""
        self.fetch([path for folder in DRAWN for path in self._listed(self._root / folder)])

    def send_drawn(self) -> None:
        """Send the small files that are new."""
        self._send(DRAWN)

    def send_all(self) -> None:
        """Send everything that the store lacks, such as what builds of one machine left in the directory."""
        self._send([folder for folder in (*TENSORS, *DRAWN) if folder not in PASSED])

    def _send(self, folders: Sequence[str]) -> None:
        for folder in folders:
            there = set(self._listed(self._root / folder))
            here = [path for path in (self._root / folder).glob("*") if path not in there]
            self._objects.put_all({name: path for path in here if (name := self._name(path))})

    def _name(self, path: Path) -> str:
        """The object's name; empty for files that stay where they are."""
        folder = path.parent.name
        if path.parent.parent != self._root or folder not in (*TENSORS, *DRAWN):
            return ""
        if any(fnmatchcase(path.name, pattern) for pattern in _OF_ONE_MACHINE):
            return ""
        return f"cache/{folder}/{path.name}"

    def _listed(self, folder: Path) -> list[Path]:
        """Where the objects of a folder are, or would be, in the directory."""
        if folder.parent != self._root:
            return []
        found = self._objects.names(f"cache/{folder.name}")
        return [folder / PurePosixPath(name).name for name in found]
