"""Directories of an actor whose machine does not share the daemon's file system.

Each process has one of its own, which is removed after it.  Bases are shared by the actors of a machine and stay there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from editing.cluster.object_cache import PASSED, ObjectCache
from editing.cluster.objects import Blobs, Objects
from editing.cluster.parcels import KEPT, PASSING, PRIVATE, Delivery, Parcel, own_files
from editing.durable import make_directory, write_file
from editing.errors import SpecError
from editing.progress import Progress
from editing.spec import BuildReport, BuildSpec
from editing.storage.assembling import assemble
from editing.storage.manifest import NAME, read_manifest


class Scratch:
    """What one actor has on disk."""

    def __init__(self, url: str, progress: Progress, root: Path | None = None) -> None:
        """`root`: the directory of all actors of this machine; None: one in the directory for temporary files."""
        self.url, self._progress = url, progress
        self._objects = Objects(url)
        self._kept, self._passing = Blobs(self._objects, KEPT), Blobs(self._objects, PASSING)
        self._root = root or Path(tempfile.gettempdir()) / f"kbsync-{os.getuid()}"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._root / "lock"):
            _remove_abandoned(self._root)
            self._own = self._root / f"actor-{secrets.token_hex(8)}"
            self._own.mkdir(mode=0o700)
            self._lock = os.open(self._own, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.cache = ObjectCache(self._objects, self._own / "cache")

    def close(self) -> None:
        """Remove the actor's own directory."""
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)

    def unpack(self, parcel: Parcel) -> Path:
        """The path of a spec with this machine's paths, which exist."""
        given = self._own / "given.json"
        write_file(given, parcel.spec, mode=PRIVATE)
        spec = BuildSpec.read(given)
        if spec.mode == "residuals":  # of another build than the one whose keys are here
            for folder in PASSED:
                shutil.rmtree(self._own / "cache" / folder, ignore_errors=True)
        directory = self._own / "round"
        if directory.exists():
            shutil.rmtree(directory)
        base = self._base(spec, parcel)
        places = {path: str(self._text(Path(path), names)) for path, names in parcel.files.items()}
        for path, content in parcel.private.items():
            place = _at(directory, path)
            make_directory(place.parent)
            write_file(place, content, mode=PRIVATE)
            places[path] = str(place)
        for path, manifest in parcel.models.items():
            if path != spec.base:
                places[path] = str(self._checkpoint(base, _at(directory, path), manifest))
        make_directory(directory)
        here = directory / "spec.json"
        _moved(spec, base, self._own / "cache", directory, places).write(here)
        self.cache.fetch_drawn()
        return here

    def delivery(self, parcel: Parcel, report_path: Path) -> Delivery:
        """What is sent back of a finished round; its checkpoint is then in the store."""
        self.cache.send_drawn()
        report = BuildReport.read(report_path)
        spec = BuildSpec.read(report_path.with_name("spec.json"))
        manifest, private = None, {}
        if report.checkpoint_digest and spec.mode != "judge":
            out = Path(spec.out)
            self._passing.offer(dict(own_files(Path(spec.base), out)), partial(self._progress, "upload"))
            manifest = (out / NAME).read_bytes()
        given = BuildSpec.read(self._own / "given.json")
        written = [(given.secret_answers, spec.secret_answers)]
        if spec.mode == "exam":
            written += zip(given.answered, spec.answered, strict=True)
        for theirs, own in written:
            if theirs is not None and own is not None and Path(own).exists():
                private[theirs] = Path(own).read_bytes()
        return Delivery(report, manifest, private)

    def _base(self, spec: BuildSpec, parcel: Parcel) -> Path:
        """The base's directory, fetched unless this machine has it."""
        if parcel.base is not None:
            base = Path(parcel.base)
            if (found := read_manifest(base).digest) != spec.base_digest:
                raise SpecError(
                    f"the base in {base} is {found}, the spec asks for {spec.base_digest}: put that one there, or "
                    "leave [executor.ray] base out, so that it is fetched"
                )
            return base
        bases = self._root / "bases"
        make_directory(bases)
        with _locked(bases / f"{spec.base_digest}.lock"):
            if not (bases / spec.base_digest).exists():
                fetch = partial(self._kept.fetch, moved=partial(self._progress, "download"))
                assemble(parcel.models[spec.base], bases / spec.base_digest, [], fetch)
        return bases / spec.base_digest

    def _text(self, path: Path, names: Mapping[str, str]) -> Path:
        """A file or directory of text with the same name, fetched unless it was before."""
        digest = hashlib.sha256(repr(sorted(names.items())).encode()).hexdigest()
        place = self._own / "texts" / digest / path.name
        missing = [(digest, place / name) for name, digest in names.items() if not (place / name).exists()]
        self._kept.fetch(missing)
        return place

    def _checkpoint(self, base: Path, place: Path, manifest: bytes) -> Path:
        assemble(manifest, place, [base], self._passing.fetch)
        return place


def _moved(spec: BuildSpec, base: Path, cache: Path, directory: Path, places: Mapping[str, str]) -> BuildSpec:
    """The spec with other paths; what was not sent is in `directory`."""

    def place(path: str | None) -> str | None:
        return None if path is None else places.get(path, str(_at(directory, path)))

    return replace(
        spec,
        base=str(base),
        cache=str(cache),
        corpus=tuple(places[text] for text in spec.corpus if text in places),
        heldout=place(spec.heldout),
        live=place(spec.live),
        out=place(spec.out or None) or "",
        wanted=place(spec.wanted),
        secret_questions=place(spec.secret_questions),
        secret_answers=place(spec.secret_answers),
        answered=tuple(place(path) or "" for path in spec.answered),
    )


def _at(directory: Path, path: str) -> Path:
    """A place below `directory` with the last name of another machine's path."""
    return directory / hashlib.sha256(path.encode()).hexdigest()[:16] / Path(path).name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process of this machine at a time."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned(root: Path) -> None:
    """Remove directories of processes that were killed, which no longer hold their locks."""
    for directory in root.glob("actor-*"):
        try:
            descriptor = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its process has just ended
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # in use
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(descriptor)
