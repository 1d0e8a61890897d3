"""Forms: further formats in which a candidate is delivered with its checkpoint directory.

A form writes files into a folder with its name within the checkpoint before the manifest is written.  The
manifest covers these files, so they are verified, promoted and removed together with the checkpoint.  Built-in
forms are listed here; others come from installed packages through the entry-point group `kbsync.forms`, whose
names are forms and whose objects are `Form` instances.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from editing.errors import SpecError

if TYPE_CHECKING:
    import torch

ENTRY_POINT_GROUP = "kbsync.forms"
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
"""Allowed names of a form, which are also names of its folder."""

_BUILT_IN: Mapping[str, str] = {
    "adapter": "editing.storage.adapter:write_adapter",
    "delta": "editing.storage.delta:write_delta",
}
"""Name → `Form`, imported on first use."""


class Form(Protocol):
    def __call__(
        self, base: Path, tensors: Mapping[str, torch.Tensor], directory: Path, **options: int
    ) -> Mapping[str, float] | None:
        """Write the candidate's form into `directory`, which is empty; plain files without subfolders.

        `base` is the imported base's directory, `tensors` the changed parameters by full name, `options` what the
        settings say of this form; one without settings takes none.  Returns figures for the manifest, if there are any.
        Raises CheckpointError.
        """
        ...


Measure = Callable[[str, Path], Mapping[str, float]]
"""(form, its directory) → further figures for the manifest, measured before the checkpoint is complete."""


def forms() -> tuple[str, ...]:
    """The names of all installed forms."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def form_named(name: str) -> Form:
    """The form with this name.  Raises SpecError for an unknown one, listing the installed forms."""
    form: Form | None
    if name in _BUILT_IN:
        module, _, function = _BUILT_IN[name].partition(":")
        form = getattr(import_module(module), function)
    else:
        form = next((p.load() for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name), None)
    if form is None or not NAME.fullmatch(name):
        raise SpecError(f"no form is named {name!r}; available: {', '.join(forms())}")
    return form
