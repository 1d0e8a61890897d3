"""The base model: imported into the home once, and identified by its digest from then on.

`kbsync-edit.json` is a file in the model's directory with hyper-parameters measured for that model.  [edit]
in the home's settings file overrides them, and `--settings FILE` overrides both.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from editing.durable import write_file
from editing.errors import DamagedCheckpoint
from editing.settings import EditSettings
from editing.special_tokens import special_tokens
from editing.storage.manifest import verify
from kbsync.errors import BadConfiguration
from kbsync.home import Home
from kbsync.settings.calibration import doubt, is_by_hand
from kbsync.settings.editing import EditOverrides
from kbsync.settings.loading import describe_validation_error, read_toml
from kbsync.settings.sections import Settings

BESIDE = "kbsync-edit.json"
NOT_OURS = frozenset({"variants"})
"""Keys of `kbsync-edit.json` that belong to [plan], not to [edit]."""


@dataclass(frozen=True, slots=True)
class Base:
    """An imported base: read-only, and complete enough for any Hugging Face loader."""

    digest: str
    directory: Path
    edit_settings: EditSettings
    """Hyper-parameters that the settings do not override: `kbsync-edit.json` beside the model, or the defaults."""

    @property
    def control_tokens(self) -> frozenset[str]:
        """The control tokens, as text: tokens that steer the model instead of spelling a word."""
        return special_tokens(self.directory)


def import_base(path: Path, home: Home, overrides: EditOverrides) -> Base:
    """Import the base model in `path`, split into frozen and editable shards under the home.

    `overrides` may describe an architecture that is not in the table.  Importing the same files again
    only reads them.  Raises BadConfiguration if `path` is not a model directory, and
    `editing.errors.ModelError` or `ArchitectureError` if the model cannot be edited.
    """
    if not path.is_dir():
        raise BadConfiguration(
            f"there is no model directory {path}", "set [model] path to a local Hugging Face model directory"
        )
    from editing.model.architectures import described
    from editing.model.loading import editable_tensors
    from editing.storage.checkpoints import import_base as split

    defaults = edit_settings_of(path)
    editable = editable_tensors(path, described(overrides.over(defaults)))
    home.prepare()
    digest, directory = split(path, home.base, editable)
    return Base(digest, directory, defaults)


@dataclass(frozen=True, slots=True)
class Imported:
    """The state of a base's files when it was imported, to recognise the base without reading gigabytes."""

    digest: str
    path: str
    looks: str
    names: str = ""
    """Digest of what, besides the files, decides which of the model's tensors can be edited."""

    @classmethod
    def of(cls, path: Path, overrides: EditOverrides, digest: str = "") -> Imported:
        """The record of an import of the files that are at `path` now."""
        described = (
            overrides.architecture_blocks,
            overrides.architecture_writer,
            overrides.architecture_norm,
        )
        names = hashlib.sha256(repr((version("transformers"), described)).encode()).hexdigest()
        return cls(digest, str(path), looks_of(path), names)

    def looks_like(self, path: Path) -> bool:
        """Whether the files at `path` look unchanged since the import."""
        return (self.path, self.looks) == (str(path), looks_of(path))

    def base(self, path: Path, home: Home, overrides: EditOverrides) -> Base | None:
        """The base that was imported, if an import of `path` would find it whole and change nothing.

        Only the imported copy is read, which is what the worker loads; torch, which naming a model's tensors needs,
        is not imported.
        """
        directory = home.base / self.digest
        if replace(Imported.of(path, overrides), digest=self.digest) != self:
            return None
        try:
            whole = verify(directory) == self.digest
        except DamagedCheckpoint:
            return None
        return Base(self.digest, directory, edit_settings_of(path)) if whole else None

    def write(self, file: Path) -> None:
        write_file(file, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, file: Path) -> Imported | None:
        """The record of the last import; None if there is none or it cannot be read."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def calibration_doubt(settings: Settings, imported: Imported | None, home: Home) -> str:
    """Why [edit] may not fit the configured base, and what to type; empty if it was measured for it, or if there is
    no base.

    The base is recognised by the record of its last import; no model is read.
    """
    path = settings.model.path
    if path is None:
        return ""
    known = imported.digest if imported is not None and imported.looks_like(path) else None
    return doubt(
        settings.calibration,
        known,
        measured=(path / BESIDE).is_file(),
        by_hand=is_by_hand(settings.edit),
        elsewhere=calibrated_elsewhere(home.calibration, known),
    )


def calibrated_elsewhere(directory: Path, base: str | None) -> Path | None:
    """The latest settings file that `kbsync calibrate` wrote into `directory` for the base of this digest."""
    found = [
        file for file in directory.glob("*.toml") if base is not None and _section(file).get("base") == base
    ]
    return max(found, key=lambda file: file.stat().st_mtime, default=None)


def _section(file: Path) -> dict[str, Any]:
    """[calibration] of a file; empty if it has none, or is not TOML (then it is not one of ours)."""
    try:
        section = read_toml(file).get("calibration")
    except BadConfiguration:
        return {}
    return section if isinstance(section, dict) else {}


def looks_of(path: Path) -> str:
    """A digest of every model file's name, size, dates and inode; if it differs, the content may differ too."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        try:
            status = file.stat()
        except OSError:  # a link to nothing; importing it says so
            continue
        look = (file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        digest.update(repr(look).encode(errors="surrogateescape"))
    return digest.hexdigest()


def named_device(device: str) -> str | None:
    """The device that the setting asks for; None: a GPU if there is one."""
    return None if device == "auto" else device


def edit_settings_of(model: Path) -> EditSettings:
    """The defaults, overridden by `kbsync-edit.json` beside the model, if it exists."""
    file = model / BESIDE
    return read_overrides(file).over(EditSettings()) if file.is_file() else EditSettings()


def read_overrides(file: Path) -> EditOverrides:
    """The edit settings in a TOML file (in its [edit] table, if it has one) or in a JSON file.

    Raises BadConfiguration that names the file and the wrong key.
    """
    values = _json(file) if file.suffix == ".json" else read_toml(file)
    if isinstance(values.get("edit"), dict):
        values = values["edit"]
    try:
        return EditOverrides(**{key: value for key, value in values.items() if key not in NOT_OURS})
    except ValidationError as error:
        raise BadConfiguration(
            f"{file}: {describe_validation_error(error)}", "the keys are those of [edit] in docs/settings.md"
        ) from error


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{file} cannot be read as JSON: {error}", "correct or remove it") from error
    if not isinstance(values, dict):
        raise BadConfiguration(f"{file} does not contain a JSON object", 'write {"layers": [3, 4, 5], …}')
    return values
