"""What a calibration found, as `kbsync calibrate --json` prints it and its report shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The settings that were found, with their proof."""

    base: str
    settings: dict[str, Any]
    """Sections of kbsync.toml."""
    scores: dict[str, dict[str, float]]
    """`before` (what the home has now) and `after`, on facts that the search never saw."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals in `after`, by fact: of S by bootstrap, of shares by their counts."""
    change: tuple[float, float] | None
    """95 % interval of S after less S before, on the same facts."""
    kept: bool
    """Whether the settings in force stay, because those that the search found were worse on the test split."""
    capacity: list[dict[str, Any]]
    report: str
    file: str
    written: str
    """The settings file that was changed; empty without --write."""
    facts: dict[str, Any]
    trials: list[dict[str, Any]]
    finalists: list[dict[str, Any]]
    """The best few on further facts, by falling rank; empty where there were none, or no time."""
    unfinished: tuple[str, ...]
    """Stages that the budget cut short."""
    left_out: list[dict[str, Any]]
    """What was not begun, since it would not have ended within the budget, with the seconds expected."""
    failing: dict[str, float]
    """Gate → how far the chosen settings miss it on the test split."""
    capacity_facts: int | None
    seconds: float
