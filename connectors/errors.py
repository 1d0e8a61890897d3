"""Errors of reading a source.

    ConnectorError
    ├── SourceUnavailable      the network or the server misbehaved: nothing was consumed, try later
    │   ├── SourceTimeout      no complete response within the deadline (a smaller page may fit)
    │   ├── SourceThrottled    429, or 503 with Retry-After: retry after `retry_after_s` seconds
    │   └── TruncatedAnswer    status 200 and a truncated body (a smaller page may fit)
    ├── SourceDataError        the response is complete, but not what the source promised
    │   ├── AnswerTooLarge     more bytes than the limit (a smaller page may fit)
    │   └── UnexpectedAnswer   not the content type or the shape that was requested
    ├── SourceRefused          400, 401, 403, 404: a retry will not help
    └── SourceSettingsError    the settings of a source are wrong; the message names the key

Errors of the first branch are temporary, those of the second have to be corrected at the source, and
the last two in kbsync's settings or access rights.
"""

from __future__ import annotations

from typing import ClassVar


class ConnectorError(Exception):
    """Base class of all errors that this package raises deliberately."""

    lasting: ClassVar[bool] = False
    """Whether a retry will not help because somebody has to change a setting or an access right."""


class SourceUnavailable(ConnectorError):
    """The source could not be read now.  Nothing was consumed, and the caller's cursor is still valid."""


class SourceTimeout(SourceUnavailable):
    """No complete response arrived within the deadline of one request."""


class SourceThrottled(SourceUnavailable):
    """The source asked us to wait; clients that retry earlier may be banned."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TruncatedAnswer(SourceUnavailable):
    """The status was 200, but the body ended early."""


class SourceDataError(ConnectorError):
    """The response is complete, but not what the source promised."""


class AnswerTooLarge(SourceDataError):
    """The body exceeded the byte limit and was not read to its end."""


class UnexpectedAnswer(SourceDataError):
    """The content type or the shape is wrong, as with a proxy's HTML page with status 200."""


class SourceRefused(ConnectorError):
    """The source rejected the request: a malformed query, missing rights or a wrong address."""

    lasting = True

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status, where there was one."""


class SourceSettingsError(ConnectorError, ValueError):
    """The settings of a source are wrong."""

    lasting = True
