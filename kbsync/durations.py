"""Lengths of time as an operator writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def parse_duration(value: Any) -> Any:
    """Seconds, or text such as `90s`, `15m`, `24h`, `3d`, `1d12h`, as a timedelta.

    Anything else is passed on to pydantic; raises ValueError for text that is no duration.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as '24h'")
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    if isinstance(value, str):
        text = value.strip().lower().replace(" ", "")
        if re.fullmatch(r"\d+(?:\.\d+)?", text):
            return timedelta(seconds=float(text))
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{value!r} is no duration: write seconds, or text such as '90s', '24h', '3d'")
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
"""A setting that is a length of time: seconds, or text such as `90s`, `15m`, `24h`, `3d`; never negative."""
