"""Editors by name: the setting `editor` of [edit] picks one.

Built-in editors are listed here; others come from installed packages through the entry-point group
`kbsync.editors`, whose names are editors and whose objects are `Editor` instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from editing.editors.contract import Editor
from editing.errors import SpecError

ENTRY_POINT_GROUP = "kbsync.editors"

BUILT_IN: Mapping[str, str] = {
    "ft_w": "editing.baselines.ft_w:FT_W",
    "locft_bf": "editing.baselines.locft_bf:LOCFT_BF",
    "memit": "editing.memit.build:MEMIT",
    "memit_null_space": "editing.baselines.null_space:NULL_SPACE",
    "mend": "editing.baselines.mend:MEND",
    "memit_sequence": "editing.baselines.sequences:MEMIT_SEQUENCE",
    "null_space_sequence": "editing.baselines.sequences:NULL_SPACE_SEQUENCE",
    "one_gradient": "editing.baselines.one_gradient:ONE_GRADIENT",
    "one_gradient_sequence": "editing.baselines.sequences:ONE_GRADIENT_SEQUENCE",
    "rome": "editing.baselines.rome:ROME",
}
"""Name → `Editor`, imported on first use."""


def editors() -> tuple[str, ...]:
    """The names of all installed editors."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def editor_named(name: str) -> Editor:
    """The editor with this name.  Raises SpecError for an unknown one, listing the installed editors."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: object = getattr(import_module(module), attribute)
    else:
        found = next((p.load() for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name), None)
    if name == "auto":
        raise SpecError(
            "the editor `auto` is chosen from a home's measurements ([calibration] editors): name an editor here; "
            f"available: {', '.join(editors())}"
        )
    if found is None:
        raise SpecError(f"no editor is named {name!r}; available: {', '.join(editors())}")
    if not isinstance(found, Editor):
        raise SpecError(f"the entry point {name!r} of {ENTRY_POINT_GROUP} is not an Editor but {found!r:.60}")
    return found
