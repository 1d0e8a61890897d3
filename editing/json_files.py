"""Specs and reports as JSON files with a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from editing.errors import SpecError


def to_json(value: dict[str, Any]) -> bytes:
    """The bytes of the file for `value`; raises ValueError for a number that is not finite."""
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def read_json(path: Path, *versions: int) -> object:
    """The JSON in `path`; raises SpecError unless an object has one of `versions`."""
    try:
        value: object = json.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}; write it again") from error
    except ValueError as error:
        raise SpecError(f"{path} is not JSON ({error}); write it again") from error
    if isinstance(value, dict) and value.get("version") not in versions:
        raise SpecError(
            f"{path} has version {value.get('version')!r}, this worker speaks {versions[-1]}: "
            "install one version of kbsync on both sides"
        )
    return value
