"""How a build says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total); phases: prefixes, statistics, targets, keys, solve."""


def silent(phase: str, done: int, total: int) -> None:
    """Say nothing."""
