"""An editor's own hyper-parameters: `[edit.options]` as a frozen dataclass, validated before any work begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from editing.errors import SpecError
from editing.settings import EditSettings

T = TypeVar("T")


def option(
    default: float,
    *,
    least: float = 0.0,
    above: bool = False,
    most: float = math.inf,
) -> Any:
    """A field of an options class: its default, and the range that it must lie in (`above`: `least` is excluded).

    A field annotated `int` takes whole numbers only.
    """
    return field(default=default, metadata={"least": least, "above": above, "most": most})


def read_options(kind: Callable[..., T], settings: EditSettings) -> T:
    """`settings.options` as a `kind`; raises SpecError naming an unknown option, or a value out of its range."""
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    where = f"[edit.options] of the editor {settings.editor!r}"
    values: dict[str, float] = {}
    for name, value in settings.options.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SpecError(f"{where}: unknown option {name!r}{hint} Known are {', '.join(known) or 'none'}")
        whole = known[name].type == "int"
        least, most = known[name].metadata["least"], known[name].metadata["most"]
        inside = least <= value <= most and not (known[name].metadata["above"] and value == least)
        if not math.isfinite(value) or not inside or (whole and value != int(value)):
            kind_of = "a whole number" if whole else "a number"
            low = f"above {least:g}" if known[name].metadata["above"] else f"at least {least:g}"
            high = "" if most == math.inf else f" and at most {most:g}"
            raise SpecError(f"{where}: {name} = {value:g} has to be {kind_of}, {low}{high}")
        values[name] = int(value) if whole else float(value)
    return kind(**values)
