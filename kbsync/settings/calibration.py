"""Where the settings of [edit] come from: `[calibration]`, written by `kbsync calibrate`."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import Field

from kbsync.settings.editing import EditOverrides
from kbsync.settings.section import Section

CALIBRATED = frozenset({"layers", "steps", "clamp", "kl", "weight_decay", "lam", "ridge", "keep"})
"""Keys of [edit] whose value has to suit the model; a calibration decides them."""
IN_FORCE = "kbsync calibrate --write"
"""Calibrates the home's base, and sets what it finds."""


class CalibrationSettings(Section):
    """What `kbsync calibrate` measured when it wrote the keys of [edit]. kbsync compares `base` with its own."""

    base: str | None = Field(None, description="digest of the base that was calibrated; unset: none was")
    date: datetime.date | None = Field(None, description="day of the calibration")
    kbsync: str | None = Field(None, description="version of kbsync that calibrated")
    facts: str | None = Field(None, description="digest of the facts that were edited")
    score: float | None = Field(None, description="S on facts that the search never saw")
    efficacy: float | None = Field(None, description="share of those facts that were then stated")
    editors: Path | None = Field(
        None, description='results of `kbsync bench editors` on the base, by which `editor = "auto"` chooses'
    )

    def described(self) -> str:
        """The calibration in one line."""
        scores = [(name, value) for name, value in (("S", self.score), ("efficacy", self.efficacy))]
        known = ", ".join(f"{name} {value:.2f}" for name, value in scores if value is not None)
        return f"of {self.date or 'an unknown day'}{f': {known}' if known else ''}"


def doubt(
    found: CalibrationSettings,
    base: str | None,
    *,
    measured: bool,
    by_hand: bool = False,
    elsewhere: Path | None = None,
    command: str = IN_FORCE,
) -> str:
    """Why the settings may not fit the base, and what to type; empty if they were measured for it.

    `base` is the digest of the imported base (None: not imported yet); `measured` says that the model came with
    settings of its own (`kbsync-edit.json`), `by_hand` that [edit] has some; `elsewhere` is a file of settings that a
    calibration of this base found, and that are not in force.
    """
    advice = f"`{command}` finds settings for it and proves them"
    if found.base is None and measured:
        return ""
    if found.base is None and elsewhere is not None:
        return (
            f"the base is calibrated, but the settings found ({elsewhere}) are not in force: `{command}` repeats "
            "nothing that was measured, and sets them"
        )
    if found.base is None:
        origin = "those written in [edit]" if by_hand else "kbsync's defaults"
        return f"the base is not calibrated (its hyper-parameters are {origin}, not measured on it): {advice}"
    if base is not None and found.base != base:
        return f"the settings were calibrated for another base ({found.base[:12]}), not for {base[:12]}: {advice}"
    return ""


def is_by_hand(overrides: EditOverrides) -> bool:
    """Whether [edit] sets any hyper-parameter that has to suit the model."""
    return not CALIBRATED.isdisjoint(overrides.model_dump(exclude_none=True))
