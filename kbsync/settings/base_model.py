"""The base model: imported into the home once, then named by its digest for ever.

`kbsync-edit.json` travels with a model: the hyper-parameters somebody measured to be good for it.  The
settings file of a home overrides them in [edit], and `--settings FILE` overrides both.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from editing.durable import write_file
from editing.settings import EditSettings
from editing.special_tokens import special_tokens
from kbsync.errors import BadConfiguration
from kbsync.home import Home
from kbsync.settings.loading import describe_validation_error, read_toml
from kbsync.settings.sections import EditOverrides

BESIDE = "kbsync-edit.json"
NOT_OURS = frozenset({"variants"})
"""Keys of `kbsync-edit.json` that plan an edit instead of making it: they belong to [plan]."""


@dataclass(frozen=True, slots=True)
class Base:
    """An imported base: read-only, and complete enough for any Hugging Face loader."""

    digest: str
    directory: Path
    edit_settings: EditSettings
    """Hyper-parameters where the settings name none: `kbsync-edit.json` beside the model, or the defaults."""

    @property
    def control_tokens(self) -> frozenset[str]:
        """Spellings of the tokens that steer the model instead of spelling a word."""
        return special_tokens(self.directory)


def import_base(path: Path, home: Home, overrides: EditOverrides) -> Base:
    """The base in `path`, split into frozen and editable shards under the home.

    `overrides` may describe an architecture that is not in the table.  Importing the same files again
    only reads them.  Raises BadConfiguration where `path` is no model directory,
    `editing.errors.ModelError` or `ArchitectureError` where it cannot be edited.
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
    """How a base's files looked when it was imported: to know it again without reading gigabytes."""

    digest: str
    path: str
    looks: str

    def looks_like(self, path: Path) -> bool:
        """Whether the files at `path` look as they did then."""
        return (self.path, self.looks) == (str(path), looks_of(path))

    def write(self, file: Path) -> None:
        write_file(file, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, file: Path) -> Imported | None:
        """What was written at the last import; None where nothing was, or nothing that can be read."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def looks_of(path: Path) -> str:
    """A digest over name, size, date and inode of every file of a model: where it differs, content may too."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        try:
            status = file.stat()
        except OSError:  # a link to nothing; importing it says so
            continue
        look = (file.name, status.st_size, status.st_mtime_ns, status.st_ino)
        digest.update(repr(look).encode(errors="surrogateescape"))
    return digest.hexdigest()


def edit_settings_of(model: Path) -> EditSettings:
    """The defaults, with what lies beside the model in `kbsync-edit.json`, if anything does."""
    file = model / BESIDE
    return read_overrides(file).over(EditSettings()) if file.is_file() else EditSettings()


def read_overrides(file: Path) -> EditOverrides:
    """The edit settings in a TOML file (its [edit] table, where it has one) or a JSON object.

    Raises BadConfiguration naming the file and the key that is wrong.
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
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{file} cannot be read as JSON: {error}", "correct or remove it") from error
    if not isinstance(values, dict):
        raise BadConfiguration(f"{file} holds no JSON object", 'write {"layers": [3, 4, 5], …}')
    return values
