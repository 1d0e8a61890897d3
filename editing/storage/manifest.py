"""`kbsync.json`: the contents of a model directory, so that damage can be attributed to a file.

Every base and every checkpoint has one.  Its digest covers the SHA-256 of every other file, so one string
identifies the whole directory.  Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from editing.durable import open_regular, sha256_of
from editing.errors import DamagedCheckpoint
from editing.model.directory import TEMPLATES, loaders_read
from editing.storage.forms import NAME as FORM

NAME = "kbsync.json"
VERSION = 1
MANIFEST_BYTES = 64 << 20
"""Maximum size of a manifest, in bytes: some hundred for each file and editable tensor."""
_FILE = re.compile(rf"({TEMPLATES}/|{FORM.pattern}/)?[^/\0]+")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a base or checkpoint directory."""

    kind: Literal["base", "checkpoint"]
    base: str
    """Digest of the base it was built from; empty for a base."""
    files: dict[str, str]
    """File name -> SHA-256, the manifest itself excepted."""
    editable: dict[str, str]
    """Parameter name in the model -> tensor name in the editable shard."""
    solved: dict[str, float] = field(default_factory=dict)
    """λ and the keys' leverage by layer (`editing.cost.Cost.solved`); empty for a base, and in older checkpoints."""
    forms: dict[str, dict[str, float]] = field(default_factory=dict)
    """What is known of further forms, such as an adapter's rank and how exact it is; empty where nothing is."""
    tensors: dict[str, str] = field(default_factory=dict)
    """Tensor name in the editable shard -> SHA-256 of its bytes; empty for a base, and in older checkpoints."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(_canonical(self._body())).hexdigest()

    def to_bytes(self) -> bytes:
        body = {**self._body(), "digest": self.digest}
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    def _body(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "kind": self.kind,
            "base": self.base,
            "files": self.files,
            "editable": self.editable,
            **({"solved": self.solved} if self.solved else {}),
            **({"forms": self.forms} if self.forms else {}),
            **({"tensors": self.tensors} if self.tensors else {}),
        }


def read_manifest(directory: Path) -> Manifest:
    """The manifest of `directory`; raises DamagedCheckpoint if it is missing, truncated or altered."""
    path = directory / NAME
    try:
        with open_regular(path) as file:
            content = file.read(MANIFEST_BYTES)
        body = json.loads(content)
        del body["digest"]
        if body.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        manifest = Manifest(**body)
        _check(manifest)
        if manifest.to_bytes() != content:
            raise ValueError("its digest does not match its contents")
    except FileNotFoundError as error:
        raise DamagedCheckpoint(
            f"{path} is missing: {directory} is not a base or checkpoint of kbsync"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"{path} cannot be trusted ({error}): rebuild or restore {directory}"
        ) from error
    return manifest


def _check(manifest: Manifest) -> None:
    """Raise ValueError unless all values have their declared types and all files lie in the directory."""
    for table in (manifest.files, manifest.editable, manifest.tensors):
        if not all(isinstance(text, str) for pair in table.items() for text in pair):
            raise ValueError("it maps something else than text to text")
    if not all(type(number) in (int, float) for number in manifest.solved.values()):
        raise ValueError("it states something else than numbers about the solve")
    figures = [number for known in manifest.forms.values() for number in known.values()]
    if not all(type(number) in (int, float) for number in figures):
        raise ValueError("it states something else than numbers about a form")
    outside = [name for name in manifest.files if not _FILE.fullmatch(name) or name.endswith("..")]
    if outside:
        raise ValueError(f"it names a file outside the directory, {outside[0]!r:.80}")
    if not isinstance(manifest.base, str):
        raise ValueError("its base is not the digest of one")


def verify(directory: Path, alive: Callable[[], None] = lambda: None) -> str:
    """Read every byte of `directory` and return its digest; raises DamagedCheckpoint naming the damaged file.

    `alive` is called after each file, since a large model takes minutes.
    """
    manifest = read_manifest(directory)
    for name, expected in sorted(manifest.files.items()):
        path = directory / name
        alive()
        try:
            found = sha256_of(path)
        except OSError as error:
            raise DamagedCheckpoint(f"{path} cannot be read ({error}): rebuild or restore it") from error
        if found != expected:
            raise DamagedCheckpoint(f"{path} is damaged: SHA-256 {found}, expected {expected}; rebuild it")
    for path in sorted(directory.iterdir()):
        if path.name not in manifest.files and path.name != NAME and loaders_read(path.name):
            raise DamagedCheckpoint(f"{path} does not belong here: a loader may prefer it; move it away")
    return manifest.digest


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
