"""What happens to weights: MEMIT, its statistics, its evaluation, checkpoint directories, the worker.

Public names are exported here and loaded when first asked for, so that `import editing` costs
nothing and the torch-free modules (`requests`, `spec`, `settings`, `errors`) stay torch-free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing.errors import EditingError as EditingError
    from editing.memit.api import Edited as Edited
    from editing.memit.api import edit as edit
    from editing.memit.build import Built as Built
    from editing.memit.build import applied as applied
    from editing.memit.build import apply as apply
    from editing.model.architectures import Architecture as Architecture
    from editing.requests import EditRequest as EditRequest
    from editing.settings import EditSettings as EditSettings

_HOMES = {
    "Architecture": "editing.model.architectures",
    "Built": "editing.memit.build",
    "Edited": "editing.memit.api",
    "EditRequest": "editing.requests",
    "EditSettings": "editing.settings",
    "EditingError": "editing.errors",
    "applied": "editing.memit.build",
    "edit": "editing.memit.api",
    "apply": "editing.memit.build",
}

__all__ = [
    "Architecture",
    "Built",
    "EditRequest",
    "EditSettings",
    "Edited",
    "EditingError",
    "applied",
    "apply",
    "edit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'editing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
