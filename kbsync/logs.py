"""Logging: JSON lines unless stderr is a terminal; everything goes to stderr, stdout is for results.

Log records of libraries and of the other packages, which use the standard library's `logging`, have the
same format. Every value passes through `visible`, so that text from sources and servers cannot control the
terminal.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import structlog

from kbsync.settings.operation import LogSettings
from kbsync.visible import visible, visible_json, visible_traceback

TRACEBACK = "exception"
"""The key under which structlog renders a traceback, which has already been escaped line by line."""


_TEXT_TRACEBACKS = structlog.processors.ExceptionRenderer(lambda info: visible_traceback(info[1]))
_JSON_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # local variables may contain passwords
)


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, which programs and tests that embed the command may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure(settings: LogSettings) -> None:
    """Configure logging for the process; context variables (`run_id`) are added to every line."""
    text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _TEXT_TRACEBACKS if text else _JSON_TRACEBACKS,
    ]
    renderers = _as_text() if text else _as_json()
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = _CurrentStderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _as_text() -> list[structlog.types.Processor]:
    return [_show, structlog.dev.ConsoleRenderer()]


def _as_json() -> list[structlog.types.Processor]:
    return [structlog.processors.JSONRenderer(_dumped)]


def _show(logger: Any, method: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    """Escape every value for a terminal; ConsoleRenderer adds the colours afterwards."""
    return {key: _shown(key, value) for key, value in line.items()}


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return value if key == TRACEBACK else visible(value)
    return value if isinstance(value, bool | int | float | None) else visible(str(value))


def _dumped(line: Any, **options: Any) -> str:
    return visible_json(json.dumps(line, ensure_ascii=False, **options))
