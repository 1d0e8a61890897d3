"""Applying a delta to its base, on a machine that needs no ledger, sources or corpus."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from editing.errors import CheckpointError
from editing.storage.base_import import import_base
from editing.storage.delta import FILE, DeltaHeader, apply_delta, read_delta_header
from editing.storage.manifest import NAME, read_manifest, verify
from kbsync.errors import NoInput
from kbsync.home import Home
from kbsync.standalone.commands import refuse_place


@dataclass(frozen=True, slots=True)
class Applied:
    """A checkpoint that was made of a base and a delta."""

    directory: Path
    digest: str
    """Of its manifest."""
    base: str
    tensors: int
    """Changed tensors, each verified by its digest."""
    delta_bytes: int
    model_bytes: int


def apply(home: Home, delta: Path, base: Path, out: Path | None = None) -> Applied:
    """Write the model that `delta` makes of `base` to `out`, by default beside the base.

    `delta` is the file or the folder that has it.  `base` is the original model's directory, which is imported once
    into the home, or an imported base.  Raises NoInput, UsageError, CheckpointError, DamagedCheckpoint, ModelError.
    """
    file = delta / FILE if delta.is_dir() else delta
    for path, what in ((file, "delta"), (base, "base model")):
        if not path.exists():
            raise NoInput(f"there is no {what} {path}", "correct the path on the command line")
    header = read_delta_header(file)
    base = base.resolve()
    place = out.absolute() if out is not None else base.with_name(f"{base.name}-{_name(header)}")
    refuse_place(place, home)
    digest = apply_delta(_imported(home, base, header), file, place)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return Applied(place, digest, header.base, len(header.tensors), header.size, size)


def _imported(home: Home, base: Path, header: DeltaHeader) -> Path:
    """The imported base, whole.  Raises CheckpointError if it is not the delta's."""
    if (base / NAME).is_file():
        manifest = read_manifest(base)
        if manifest.kind == "checkpoint":
            raise CheckpointError(
                f"{base} is an edited checkpoint: a delta is applied to the unedited base {manifest.base[:12]}…"
            )
        verify(base)
        return base
    with home.prepare().locked("kbsync apply"):
        digest, directory = import_base(base, home.base, header.editable or None)
    if header.base and digest != header.base:
        raise CheckpointError(
            f"the delta belongs to the base {header.base[:12]}…, but {base} is {digest[:12]}…: "
            "name the very files that the delta was made from"
        )
    return directory


def _name(header: DeltaHeader) -> str:
    """A name by content: of the base and the changed tensors."""
    return hashlib.sha256(json.dumps([header.base, header.tensors], sort_keys=True).encode()).hexdigest()[:12]
