"""Forms: how a candidate is delivered beside its checkpoint directory.

A form writes files into a folder of its own name within the checkpoint, before the manifest is made: the
manifest covers them, so they are verified, promoted and collected together with the checkpoint.  The
built-in ones are listed here; others come from installed packages through the entry-point group
`kbsync.forms`, whose names are forms and whose objects are `Form`s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from editing.errors import SpecError

if TYPE_CHECKING:
    import torch

ENTRY_POINT_GROUP = "kbsync.forms"
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
"""Allowed names of a form, which is also its folder's."""

_BUILT_IN: Mapping[str, str] = {"delta": "editing.storage.delta:write_delta"}
"""Name → `Form`, imported on first use."""


class Form(Protocol):
    def __call__(self, base: Path, tensors: Mapping[str, torch.Tensor], directory: Path) -> None:
        """Write the candidate's form into `directory`, which is empty; plain files without subfolders.

        `base` is the imported base's directory, `tensors` the changed parameters by full name.
        Raises CheckpointError.
        """
        ...


def forms() -> tuple[str, ...]:
    """The names of all forms that this installation has."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def form_named(name: str) -> Form:
    """The form with this name.  Raises SpecError for an unknown one, listing those that there are."""
    form: Form | None
    if name in _BUILT_IN:
        module, _, function = _BUILT_IN[name].partition(":")
        form = getattr(import_module(module), function)
    else:
        form = next((p.load() for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name), None)
    if form is None or not NAME.fullmatch(name):
        raise SpecError(f"no form is named {name!r}; there are: {', '.join(forms())}")
    return form
