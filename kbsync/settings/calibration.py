"""Where the settings of [edit] come from: `[calibration]`, written by `kbsync calibrate`."""

from __future__ import annotations

import datetime

from pydantic import Field

from kbsync.settings.section import Section

ADVICE = "`kbsync calibrate --write` finds settings for it and proves them"


class CalibrationSettings(Section):
    """What `kbsync calibrate` measured when it wrote the keys of [edit]. kbsync compares `base` with its own."""

    base: str | None = Field(None, description="digest of the base that was calibrated; unset: none was")
    date: datetime.date | None = Field(None, description="day of the calibration")
    kbsync: str | None = Field(None, description="version of kbsync that calibrated")
    facts: str | None = Field(None, description="digest of the facts that were edited")
    score: float | None = Field(None, description="S on facts that the search never saw")
    efficacy: float | None = Field(None, description="share of those facts that were then stated")

    def described(self) -> str:
        """The calibration in one line."""
        scores = [(name, value) for name, value in (("S", self.score), ("efficacy", self.efficacy))]
        known = ", ".join(f"{name} {value:.2f}" for name, value in scores if value is not None)
        return f"of {self.date or 'an unknown day'}{f': {known}' if known else ''}"


def doubt(found: CalibrationSettings, base: str | None, *, measured: bool) -> str:
    """Why the settings may not fit the base; empty if they were measured for it.

    `base` is the digest of the imported base (None: not imported yet); `measured` says that the model came with
    settings of its own (`kbsync-edit.json`).
    """
    if found.base is None:
        return "" if measured else f"the base is not calibrated: {ADVICE}"
    if base is not None and found.base != base:
        return f"the settings were calibrated for another base ({found.base[:12]}), not for {base[:12]}: {ADVICE}"
    return ""
