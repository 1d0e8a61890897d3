"""The base model: imported into the home once, then named by its digest for ever."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editing.settings import EditSettings
from kbsync import edit_settings
from kbsync.errors import BadConfiguration
from kbsync.home import Home
from kbsync.settings import EditOverrides


@dataclass(frozen=True, slots=True)
class Base:
    """An imported base: read-only, and complete enough for any Hugging Face loader."""

    digest: str
    directory: Path
    edit_settings: EditSettings
    """Hyper-parameters where the settings name none: `kbsync-edit.json` beside the model, or the defaults."""


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
    from editing.architectures import described
    from editing.checkpoints import import_base as split
    from editing.models import editable_tensors

    defaults = edit_settings.of_model(path)
    editable = editable_tensors(path, described(overrides.over(defaults)))
    home.prepare()
    digest, directory = split(path, home.base, editable)
    return Base(digest, directory, defaults)
