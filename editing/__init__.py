"""Editing a model's weights: MEMIT, its statistics, its evaluation, checkpoint directories, the worker.

Public names are exported here and loaded on first access, so that `import editing` is cheap and the
torch-free modules (`requests`, `spec`, `settings`, `errors`) stay torch-free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing.editors.contract import BuildInputs as BuildInputs
    from editing.editors.contract import EditResult as EditResult
    from editing.errors import EditingError as EditingError
    from editing.memit.api import Edited as Edited
    from editing.model.architectures import Architecture as Architecture
    from editing.model.weights import swapped as swapped
    from editing.model.weights import write_weights as write_weights
    from editing.notebook import edit as edit
    from editing.requests import EditRequest as EditRequest
    from editing.settings import EditSettings as EditSettings

_HOMES = {
    "Architecture": "editing.model.architectures",
    "BuildInputs": "editing.editors.contract",
    "Edited": "editing.memit.api",
    "EditRequest": "editing.requests",
    "EditResult": "editing.editors.contract",
    "EditSettings": "editing.settings",
    "EditingError": "editing.errors",
    "edit": "editing.notebook",
    "swapped": "editing.model.weights",
    "write_weights": "editing.model.weights",
}

__all__ = [
    "Architecture",
    "BuildInputs",
    "EditRequest",
    "EditResult",
    "EditSettings",
    "Edited",
    "EditingError",
    "edit",
    "swapped",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'editing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
