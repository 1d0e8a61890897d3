"""Maps HTTP statuses to errors, and reads Retry-After (RFC 9110, section 15)."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from connectors.border import shown
from connectors.errors import (
    ConnectorError,
    SourceRefused,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
)

MAX_RETRY_AFTER_S = 86_400.0
"""A longer Retry-After is cut to a day, so that no server can stop requests to it permanently."""
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def error_of(url: str, status: int, headers: Mapping[str, str], detail: str, now: datetime) -> ConnectorError:
    """The error for a status other than 200; `detail` is the beginning of the body."""
    what = f"{url}: HTTP {status}" + (f": {shown(detail, 400)}" if detail else "")
    wait = retry_after_s(headers.get("Retry-After"), now)
    if status == 429 or (status == 503 and wait is not None):
        return SourceThrottled(what, 60.0 if wait is None else wait)
    if status in (408, 504) or "TimeoutException" in detail or "timed out" in detail.lower():
        return SourceTimeout(what)
    if status >= 500:
        return SourceUnavailable(what)
    if status == 403:
        what += " (does the agent hold contact data, and may this client read the source?)"
    return SourceRefused(what, status)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Retry-After in seconds, at most a day (RFC 9110, section 10.2.3: a number or a date).

    None if it is absent or cannot be read.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value)
        wait = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, wait), MAX_RETRY_AFTER_S)
