"""Durations as an operator writes them, in the settings of sources and in all other settings."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER.pattern}[smhdw])+", re.ASCII)
_PART = re.compile(rf"({_NUMBER.pattern})([smhdw])", re.ASCII)
LONGEST = timedelta(days=36_525)
"""A hundred years: durations are added to instants, and those end with the year 9999."""


def parse_duration(value: Any) -> Any:
    """Convert seconds, or text such as `90s`, `15m`, `24h`, `3d`, `1d12h`, to a timedelta.

    Any other type is passed on to pydantic.  Raises ValueError for text that is not a duration, and for
    a duration of more than a hundred years.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as '24h'")
    if isinstance(value, int | float):
        return _of_seconds(value)
    if isinstance(value, str):
        text = value.strip().lower().replace(" ", "")
        if _NUMBER.fullmatch(text):
            return _of_seconds(float(text))
        if not _DURATION.fullmatch(text):
            raise ValueError(
                f"{value!r} is not a duration: write seconds, or text such as '90s', '24h', '3d'"
            )
        return _of_seconds(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    return value


def _of_seconds(seconds: float) -> timedelta:
    if not abs(seconds) <= LONGEST.total_seconds():  # NaN compares false
        raise ValueError("a duration is a finite number of seconds, at most a hundred years")
    return timedelta(seconds=seconds)


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("a duration cannot be negative")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("this duration must be longer than 0")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_not_negative)]
"""A duration setting: seconds, or text such as `90s`, `15m`, `24h`, `3d`; never negative."""
PositiveDuration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_positive)]
"""The same for settings where 0 would mean "never" or "all the time": 0 is rejected."""
