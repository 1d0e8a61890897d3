"""Rounds for actors on machines that do not share the daemon's file system: what such an actor is sent, and sends back.

The spec, and files that name facts, travel through Ray.  Large files travel through the object store by the SHA-256 of
their contents: the base and the texts, which stay there, and checkpoints, which are removed once they arrived.
Results that later rounds reuse are in the store's cache (`object_cache.py`).  Free of torch and Ray.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from editing.cluster.object_cache import PASSED, ObjectCache
from editing.cluster.objects import Blobs, Objects
from editing.durable import sha256_of, write_file
from editing.errors import ClusterError
from editing.progress import Progress
from editing.spec import BuildReport, BuildSpec
from editing.storage.assembling import assemble, clear
from editing.storage.checkpoints import read_manifest
from editing.storage.manifest import NAME

KEPT, PASSING = "blobs", "checkpoints"
"""Folders of the store for what builds have in common, and for checkpoints on their way."""
PARTIAL = ("ask", "plan", "statistics", "residuals", "keys", "solve")
"""Modes that need nothing but the base, the texts of the statistics and the cache."""
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Parcel:
    """A round, with all that its spec names."""

    url: str
    """Of the object store."""
    spec: bytes
    """The file of the spec, with the paths of the machine that wrote it."""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Path in the spec → relative name → SHA-256; the name of a single file is empty."""
    models: Mapping[str, bytes] = field(default_factory=dict)
    """Path in the spec → manifest of the model directory there."""
    private: Mapping[str, bytes] = field(default_factory=dict)
    """Path in the spec → contents."""
    base: str | None = None
    """Directory on the actor's machine that has the base already."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a round."""

    report: BuildReport
    """With paths of the actor's machine."""
    manifest: bytes | None = None
    """Of the checkpoint that was written; its files are in the store, unless the base has them."""
    private: Mapping[str, bytes] = field(default_factory=dict)
    """Path in the spec → contents of files that were written."""


class Carrier(Protocol):
    """How specs get to actors, and reports back."""

    def prepare(self, spec: BuildSpec) -> None:
        """Make what the spec and its parts name available to actors.  Raises EditingError."""
        ...

    def request(self, path: Path) -> str | Parcel:
        """What an actor is given for the round of the spec in `path`."""
        ...

    def received(self, path: Path, answer: str | Delivery) -> Path:
        """The path of the report, from what the actor answered.  Raises EditingError."""
        ...

    def clear(self, spec: BuildSpec) -> None:
        """Remove what of the cache served this build alone.  Raises EditingError."""
        ...


class SharedStorage:
    """All nodes see the same paths."""

    def prepare(self, spec: BuildSpec) -> None:
        """Everything is there."""

    def request(self, path: Path) -> str | Parcel:
        return str(path)

    def received(self, path: Path, answer: str | Delivery) -> Path:
        assert isinstance(answer, str)
        return Path(answer)

    def clear(self, spec: BuildSpec) -> None:
        for folder in PASSED:
            for path in (Path(spec.cache) / folder).glob("*"):
                path.unlink(missing_ok=True)


class ThroughObjects:
    """Nodes share an object store."""

    def __init__(self, objects: Objects, progress: Progress, base: str | None = None) -> None:
        self._objects, self._progress, self._base = objects, progress, base
        self._kept, self._passing = Blobs(objects, KEPT), Blobs(objects, PASSING)
        self._hashed: dict[tuple[str, int, int], str] = {}

    def prepare(self, spec: BuildSpec) -> None:
        if self._base is None:
            base = Path(spec.base)
            self._offer(
                self._kept, {digest: base / name for name, digest in read_manifest(base).files.items()}
            )
        texts = {} if spec.mode == "ask" else {path: self._digests(Path(path)) for path in _texts(spec)}
        for path, names in texts.items():
            self._offer(self._kept, {digest: Path(path) / name for name, digest in names.items()})
        if spec.mode not in PARTIAL:
            for checkpoint in _checkpoints(spec):
                self._offer(self._passing, dict(own_files(Path(spec.base), checkpoint)))
        ObjectCache(self._objects, Path(spec.cache)).send_all()

    def request(self, path: Path) -> str | Parcel:
        content = path.read_bytes()
        spec = BuildSpec.read(path)
        whole = spec.mode not in PARTIAL
        texts = _texts(spec) if whole else spec.corpus if spec.mode != "ask" else ()
        read = spec.answered if spec.mode != "exam" else ()
        private = (spec.wanted, spec.secret_questions, *read) if whole else ()
        models = [Path(spec.base), *(_checkpoints(spec) if whole else ())]
        return Parcel(
            url=self._objects.url,
            spec=content,
            files={text: self._digests(Path(text)) for text in texts},
            models={str(model): (model / NAME).read_bytes() for model in models},
            private={file: Path(file).read_bytes() for file in private if file is not None},
            base=self._base,
        )

    def received(self, path: Path, answer: str | Delivery) -> Path:
        assert isinstance(answer, Delivery)
        spec = BuildSpec.read(path)
        if answer.manifest is not None:
            self._assemble(spec, answer.manifest)
        for file, content in answer.private.items():
            if file not in (spec.secret_answers, *spec.answered):
                raise ClusterError(f"an actor returned {file}, which the spec does not ask for")
            write_file(Path(file), content, mode=PRIVATE)
        report = answer.report
        if report.checkpoint:
            report = replace(report, checkpoint=spec.out)
        cache = ObjectCache(self._objects, Path(spec.cache))
        cache.fetch_drawn()
        groups = sorted({fact.group for fact in report.facts if fact.group})
        cache.fetch([Path(spec.cache) / "deltas" / f"{group}.safetensors" for group in groups])
        whole = path.with_name("report.json")
        replace(report, spec_digest=hashlib.sha256(path.read_bytes()).hexdigest()).write(whole)
        if spec.mode not in (*PARTIAL, "exam"):  # after an exam's share, what was sent is needed again
            self._passing.remove()
        return whole

    def clear(self, spec: BuildSpec) -> None:
        cache = ObjectCache(self._objects, Path(spec.cache))
        for folder in PASSED:
            for path in cache.matching(Path(spec.cache) / folder, "*"):
                cache.remove(path)

    def _assemble(self, spec: BuildSpec, manifest: bytes) -> None:
        out = Path(spec.out)
        clear(out, None if spec.live is None else Path(spec.live))
        assemble(
            manifest,
            out,
            [Path(spec.base)],
            partial(self._passing.fetch, moved=partial(self._progress, "download")),
        )

    def _offer(self, blobs: Blobs, files: Mapping[str, Path]) -> None:
        blobs.offer(files, partial(self._progress, "upload"))

    def _digests(self, path: Path) -> dict[str, str]:
        """Relative name → SHA-256 of a file, or of the files of a directory."""
        if not path.is_dir():
            return {"": self._digest(path)}
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {str(file.relative_to(path)): self._digest(file) for file in files}

    def _digest(self, path: Path) -> str:
        found = path.stat()
        key = (str(path), found.st_size, found.st_mtime_ns)
        if key not in self._hashed:
            self._hashed[key] = sha256_of(path)
        return self._hashed[key]


def _texts(spec: BuildSpec) -> tuple[str, ...]:
    return (*spec.corpus, *((spec.heldout,) if spec.heldout else ()))


def _checkpoints(spec: BuildSpec) -> Iterator[Path]:
    """The checkpoints that a round reads."""
    if spec.live is not None and (Path(spec.live) / NAME).is_file():
        yield Path(spec.live)
    if spec.mode == "judge":
        yield Path(spec.out)


def own_files(base: Path, checkpoint: Path) -> Iterator[tuple[str, Path]]:
    """(SHA-256, path) of the files of a checkpoint that its base does not have."""
    frozen = set(read_manifest(base).files.values())
    for name, digest in read_manifest(checkpoint).files.items():
        if digest not in frozen:
            yield digest, checkpoint / name
