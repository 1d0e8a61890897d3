"""What can go wrong between us and a source.

    ConnectorError
    ├── SourceUnavailable      the network or the server misbehaved: nothing was consumed, try later
    │   ├── SourceTimeout      no whole answer within the deadline (a smaller page may fit)
    │   ├── SourceThrottled    429, or 503 with Retry-After: not before `retry_after_s` seconds
    │   └── TruncatedAnswer    status 200 and a body that was cut (a smaller page may fit)
    ├── SourceDataError        the answer is whole, but not what the source promised
    │   ├── AnswerTooLarge     more bytes than the cap (a smaller page may fit)
    │   └── UnexpectedAnswer   not the content type or the shape that was asked for
    ├── SourceRefused          400, 401, 403, 404: asking again will not help
    └── SourceSettingsError    the settings of a source are wrong; the message names the key

The first branch passes by itself, the second has to be put right at the source, the last two here.
"""

from __future__ import annotations

from typing import ClassVar


class ConnectorError(Exception):
    """Base of everything that this package raises on purpose."""

    lasting: ClassVar[bool] = False
    """Whether asking again will not help: somebody has to change a setting or a right."""


class SourceUnavailable(ConnectorError):
    """The source could not be read now.  Nothing was consumed; the caller's cursor is still right."""


class SourceTimeout(SourceUnavailable):
    """No whole answer arrived within the deadline of one request."""


class SourceThrottled(SourceUnavailable):
    """The source asked us to wait; asking earlier gets clients banned."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TruncatedAnswer(SourceUnavailable):
    """The status was 200 and the body ended early."""


class SourceDataError(ConnectorError):
    """The answer arrived whole and is not what the source promised."""


class AnswerTooLarge(SourceDataError):
    """The body passed the byte cap and was abandoned."""


class UnexpectedAnswer(SourceDataError):
    """Wrong content type or wrong shape, such as a proxy's HTML page with status 200."""


class SourceRefused(ConnectorError):
    """The source understood and declined: a malformed query, missing rights, a wrong address."""

    lasting = True

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status, where there was one."""


class SourceSettingsError(ConnectorError, ValueError):
    """The settings of a source are wrong."""

    lasting = True
