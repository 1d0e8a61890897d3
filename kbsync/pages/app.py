"""The web application: its routes, its middleware, and the page of each error."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from kbsync import __version__
from kbsync.application import Application
from kbsync.errors import BadData, KbsyncError, NoSuchFact, TryLater, UsageError
from kbsync.pages import (
    actions,
    asking,
    audit,
    checkpoints,
    facts,
    feeds,
    overview,
    quarantine,
    runs,
    signing_in,
    witness,
)
from kbsync.pages.access import Access, NotAllowed, NotSignedIn
from kbsync.pages.description import RESPONSES
from kbsync.pages.errands import Errands
from kbsync.pages.guard import Guard, TooLong
from kbsync.pages.rendering import page
from kbsync.pages.shared import SharedPages
from kbsync.pages.submissions import Submissions
from kbsync.queries.counts import Census
from kbsync.queries.reports import Reports
from kbsync.queries.surveys import Surveys
from kbsync.service.health import HealthEndpoints
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.metrics import LedgerCollector
from state.errors import (
    Busy,
    ForbiddenTransition,
    NotFound,
    SchemaError,
    StaleTransition,
    StateError,
    Unavailable,
)

log = structlog.get_logger()

ROUTERS = (overview, runs, facts, quarantine, checkpoints, audit, asking, feeds, actions, signing_in, witness)
STATUS: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((NotFound, NoSuchFact, BadData), 404),
    ((StaleTransition, ForbiddenTransition), 409),
    ((UsageError,), 422),
    ((Busy, Unavailable, SchemaError, TryLater), 503),
    ((TooLong,), 413),
)
"""The status of each error that the ledger and the decisions raise on purpose."""


def create_app(app: Application, access: Access, heartbeat: Heartbeat | None = None) -> FastAPI:
    """The pages of one ledger.  `heartbeat`: the daemon's, for `/livez`; without it an answer is a sign of life."""
    web = FastAPI(
        title="kbsync",
        version=__version__,
        description="What is live, what waits and what happened; every page is also there as JSON.",
        docs_url=None,
        redoc_url=None,
    )
    web.state.kbsync, web.state.access = app, access
    web.state.submissions, web.state.errands = Submissions(), Errands(app, here=heartbeat is None)
    web.state.counts = Census(app)
    web.state.glances = overview.Glances(app, counter=web.state.counts)
    web.state.surveys = Surveys(app, web.state.counts)
    web.state.reports, web.state.shared = Reports(), SharedPages(app)
    web.state.weights = checkpoints.WeightNorms(app)
    for part in ROUTERS:
        web.include_router(part.router, responses=RESPONSES)
    web.mount("/static", StaticFiles(directory=str(files("kbsync.pages") / "static")), name="static")
    _add_probes(web, app, heartbeat)
    errors: tuple[type[Exception], ...] = (
        NotSignedIn,
        NotAllowed,
        HTTPException,
        RequestValidationError,
        KbsyncError,
        StateError,
        TooLong,
        Exception,
    )
    for error in errors:
        web.add_exception_handler(error, _error_page)
    web.add_middleware(Guard, hosts=access.hosts, open_to_all=access.local)
    return web


def _add_probes(web: FastAPI, app: Application, heartbeat: Heartbeat | None) -> None:
    """`/livez`, `/readyz` and `/metrics` as the daemon has them: open, and without a fact in them."""
    pulse = heartbeat or Heartbeat()
    health, registry = HealthEndpoints(app, pulse), CollectorRegistry()
    registry.register(LedgerCollector(app, pulse))

    def answer(fault: str) -> Response:
        return PlainTextResponse(f"{fault or 'ok'}\n", 503 if fault else 200)

    @web.get("/livez", include_in_schema=False)
    def livez() -> Response:
        return answer(health.livez() if heartbeat is not None else "")

    @web.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        return answer(health.readyz())

    @web.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        if heartbeat is None:
            pulse.beat()  # there is no loop: the process that answers is alive
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _error_page(request: Request, error: Exception) -> Response:
    """What went wrong, where, and what to do; an unexpected error is in the log, not on the page."""
    if isinstance(error, NotSignedIn):
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/sign-in", 303)
        return PlainTextResponse("sign in, or send a token\n", 401, {"WWW-Authenticate": "Bearer"})
    status, message, advice = _described(error)
    title = HTTPStatus(status).phrase
    if status == 500:
        log.error("pages.failed", path=request.url.path, exc_info=error)
    elif isinstance(error, HTTPException) and not 400 <= status < 600:
        return Response(status_code=status, headers=error.headers)
    return page(request, "error.html", status, title=title, message=message, advice=advice)


def _described(error: Exception) -> tuple[int, str, str]:
    """Status, message and advice."""
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), ""
    if isinstance(error, RequestValidationError):
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return 422, wrong, ""
    if isinstance(error, NotAllowed):
        return 403, str(error), "ask an operator for a token with that role"
    for kinds, status in STATUS:
        if isinstance(error, kinds):
            return status, str(error) or "the form is too long", getattr(error, "advice", None) or ""
    if isinstance(error, KbsyncError):
        return 422, str(error), error.advice or ""
    return 500, "something unexpected happened", "the log of `kbsync serve` has the details"
