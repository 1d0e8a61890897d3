"""Templates: everything from outside is escaped twice over, as HTML and against hidden characters.

A template's text never contains a fact's label as it is: jinja escapes HTML, and `finalize` shows control
characters, direction marks and invisible code points as `\\u…` (see `kbsync.visible`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, JSONResponse, Response

from kbsync import __version__
from kbsync.console import plain
from kbsync.pages.shared import FORM_KEY, READER, with_new_key
from kbsync.visible import visible

SECTIONS = (
    ("/", "Overview"),
    ("/runs", "Runs"),
    ("/facts", "Facts"),
    ("/quarantine", "Quarantine"),
    ("/checkpoints", "Checkpoints"),
    ("/audit", "Audit"),
    ("/ask", "Ask"),
    ("/survey", "Survey"),
)
TONES: Mapping[str, str] = {
    **dict.fromkeys(
        ("wanted", "deployed", "live", "passed", "done", "succeeded", "approved", "right", "went live"),
        "good",
    ),
    **dict.fromkeys(("failed", "rejected", "refused", "wrong", "hung", "killed", "out_of_memory"), "bad"),
    **dict.fromkeys(
        (
            "quarantined",
            "awaiting_review",
            "held",
            "barred",
            "waiting",
            "rolled_back",
            "outdated",
            "left out",
        ),
        "warn",
    ),
    **dict.fromkeys(
        ("planned", "building", "built", "judged", "staged", "promoted", "working", "in progress"), "busy"
    ),
}
"""The colour of a state; what is not named is grey."""


YEAR = 365.25 * 86_400
"""In seconds."""


def tone(state: object) -> str:
    """The class of a state's badge."""
    return TONES.get(str(state), "quiet")


def instant(at: datetime | None) -> str:
    """`2026-05-01 12:00:07 UTC`."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def minute(at: datetime | None) -> str:
    """`2026-05-01 12:00 UTC`."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def date(at: datetime) -> str:
    """`2026-05-01`."""
    return f"{at:%Y-%m-%d}"


def ago(at: datetime | None, now: datetime) -> str:
    """`3 hours ago`, in the largest unit of which there is one."""
    return "never" if at is None else f"{span(now - at)} ago"


def span(length: timedelta | float) -> str:
    """`3 hours`, `1 minute`, `0.4 seconds`; years from two on."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds >= 2 * YEAR:
        return f"{int(seconds // YEAR)} years"
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.1f} seconds" if 0 < seconds < 10 else f"{max(0, round(seconds))} seconds"


def figure(value: float | None) -> str:
    """A gate's value or bound."""
    return "–" if value is None else f"{value:.3f}"


def count(number: int) -> str:
    """A number of things, with a thin space between thousands: `1 152`."""
    return f"{number:,}".replace(",", "\u202f")


def norm(value: float) -> str:
    """A norm with four significant digits: `37.21`."""
    return f"{value:,.4g}"


def percent(share: float) -> str:
    """`0.031` as `3.1 %`."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def growth(ratio: float) -> str:
    """How much a norm has grown: `+3.1 %`, `−0.2 %`, `unchanged`."""
    change = ratio - 1
    if abs(change) < 5e-7:
        return "unchanged"
    return f"{'+' if change > 0 else '−'}{percent(abs(change))}"


def pretty(text: str) -> str:
    """JSON text with indentation; any other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        return text


def query(parameters: Mapping[str, Any], **changes: Any) -> str:
    """A query string of these parameters with `changes`; empty ones are left out."""
    merged = {**parameters, **changes}
    return urlencode({name: value for name, value in merged.items() if value not in (None, "", False)})


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _prose(text: str) -> Markup:
    """A sentence in which what stands between backticks is shown as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return Markup.escape(visible(text))
    code = Markup("<code>{}</code>")
    return Markup("").join(
        code.format(visible(part)) if number % 2 else Markup.escape(visible(part))
        for number, part in enumerate(parts)
    )


def _lines(text: str) -> Markup:
    """Text of several lines, each of them made visible."""
    return Markup("\n").join(visible(line) for line in text.split("\n"))


def environment() -> Environment:
    """The templates of this package."""
    made = Environment(
        loader=PackageLoader("kbsync.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "tone": tone,
        "instant": instant,
        "date": date,
        "minute": minute,
        "ago": ago,
        "span": span,
        "figure": figure,
        "count": count,
        "norm": norm,
        "percent": percent,
        "growth": growth,
        "pretty": pretty,
        "lines": _lines,
        "prose": _prose,
    }
    made.globals |= {"sections": SECTIONS, "version": __version__, "query": query, "key": FORM_KEY}
    return made


TEMPLATES = environment()


def page(
    request: Request,
    template: str,
    status: int = 200,
    /,
    *,
    form: Mapping[str, Any] = MappingProxyType({}),
    **values: Any,
) -> Response:
    """The page, or with `.json` at the end of its address the values that it shows.

    `form`: what only the page needs, such as the choices of its filters.
    """
    if request.url.path.endswith(".json"):
        return JSONResponse(plain(values), status)
    visitor = getattr(request.state, "visitor", None)
    is_shared = getattr(request.state, "shared", False)
    if is_shared and visitor is not None:
        visitor = replace(visitor, name=READER)
    text = TEMPLATES.get_template(template).render(
        request=request,
        path=request.url.path,
        visitor=visitor,
        now=request.app.state.kbsync.now(),
        **form,
        **values,
    )
    return HTMLResponse(text if is_shared else with_new_key(text.encode()), status)
