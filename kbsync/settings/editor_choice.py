"""`[edit] editor = "auto"`: the best editor for a base, by the measurements of `kbsync bench editors`.  Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from editing.settings import EditSettings
from kbsync.errors import BadConfiguration

AUTO: Literal["auto"] = "auto"
DEFAULT = EditSettings().editor
CALM = 1.05
"""Perplexity of held-out text over the base's, up to which an editor may be chosen, as the gate's default; also that of
the default editor, if it is higher."""
MEASURE = (
    "run `kbsync bench editors --out DIR` for this model, and set [calibration] editors to DIR/editors.json"
)


@dataclass(frozen=True, slots=True)
class EditorScore:
    """What was measured of one editor."""

    name: str
    score: float
    """S."""
    low: float
    high: float
    """The 95 % interval of S."""
    perplexity: float
    """The largest over the seeds, over the base's."""


def chosen_editor(file: Path | None, base: str | None) -> tuple[str, dict[str, float]]:
    """The editor that the measurements in `file` recommend for the base with this digest (None: not compared), with the
    options that it was measured with.

    It is the one with the highest S among those that rebuild a view and leave the language alone.  The default editor
    stays where its interval overlaps: a difference that may be chance is no reason to change.
    Raises BadConfiguration if there is no such file, or if it is about another base.
    """
    if file is None:
        raise BadConfiguration('[edit] editor = "auto" needs measurements', MEASURE)
    measured = _read(file)
    digest = str(measured["model"]["digest"])
    if base is not None and digest != base:
        raise BadConfiguration(
            f"the editors in {file} were measured on another base ({digest[:12]}), not on {base[:12]}",
            MEASURE,
        )
    found = {row["editor"]: _score(row) for row in measured["results"] if _eligible(row)}
    if not found:
        raise BadConfiguration(f"no editor in {file} has a score", MEASURE)
    name = best(found)
    return name, {option: float(value) for option, value in measured.get("options", {}).get(name, {}).items()}


def best(found: Mapping[str, EditorScore]) -> str:
    """The name of the best of `found`, which has at least one."""
    own = found.get(DEFAULT)
    allowed = max(CALM, own.perplexity if own is not None else 0.0)
    calm = {name: one for name, one in found.items() if one.perplexity <= allowed} or found
    top = max(calm.values(), key=lambda one: (one.score, one.name))
    if own is not None and top.low <= own.high:
        return own.name
    return top.name


def resolved(settings: EditSettings, file: Path | None, base: str | None) -> EditSettings:
    """`settings` with an editor's name in place of `auto`, and its options."""
    if settings.editor != AUTO:
        return settings
    if settings.options:
        raise BadConfiguration(
            'with [edit] editor = "auto" there can be no [edit.options]: those that were measured are used',
            "remove [edit.options], or name an editor",
        )
    name, options = chosen_editor(file, base)
    return replace(settings, editor=name, options=options)


def _eligible(row: Mapping[str, Any]) -> bool:
    """Whether an editor was measured, and gives the same weights for the same facts in any order; retrieval is none."""
    measured = bool(row.get("S")) and not row.get("error")
    return measured and row["reuse"] in ("fact", "view") and row["editor"] != "retrieval"


def _score(row: Mapping[str, Any]) -> EditorScore:
    ratios = [float(model["perplexity_ratio"]) for model in row["by_fact"]]
    value = row["S"]
    return EditorScore(
        row["editor"], float(value["value"]), float(value["low"]), float(value["high"]), max(ratios)
    )


def _read(file: Path) -> dict[str, Any]:
    """The results of `kbsync bench editors`; raises BadConfiguration if the file is something else."""
    try:
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict) or found.get("experiment") != "editors":
            raise ValueError("it does not hold the results of that experiment")
        _ = (
            found["model"]["digest"],
            [(row["editor"], _eligible(row) and _score(row)) for row in found["results"]],
        )
    except FileNotFoundError as error:
        raise BadConfiguration(f"[calibration] editors: there is no file {file}", MEASURE) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfiguration(f"[calibration] editors: {file} cannot be read: {error}", MEASURE) from error
    return found
