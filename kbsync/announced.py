"""What a worker may be told before its first spec, so that it gets ready while the spec is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AnnouncedBase:
    """The imported base that the next spec will probably name."""

    directory: Path
    digest: str
    device: str | None


@dataclass(frozen=True, slots=True)
class ModelToImport:
    """A model of which no import is recorded; the next spec will probably name the base that it becomes."""

    source: Path
    """Its Hugging Face directory."""
    root: Path
    """Where imported bases are."""
    architecture: Mapping[str, str]
    """The edit settings that describe an architecture which is not in the table, by name."""
    device: str | None


Announced = AnnouncedBase | ModelToImport


def message_of(base: Announced | None) -> dict[str, object]:
    """The line for the worker (`editing/worker/process.py`); None: the base is not known yet."""
    if isinstance(base, ModelToImport):
        paths = {"source": str(base.source), "root": str(base.root)}
        return {"import": {**paths, "architecture": dict(base.architecture), "device": base.device}}
    if base is None:
        return {"load": {"base": None, "digest": "", "device": None}}
    return {"load": {"base": str(base.directory), "digest": base.digest, "device": base.device}}
