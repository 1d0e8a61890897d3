"""`/ask`: what the base and live answer to a prompt, and why; `/survey`: what the base believed before any edit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from editing.errors import EditingError
from kbsync.application import Application
from kbsync.errors import KbsyncError, TryLater
from kbsync.pages import description
from kbsync.pages.access import Kbsync, Operator, Reviewer, Seen
from kbsync.pages.errands import Errands
from kbsync.pages.paging import Search, Text
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.pages.submissions import Fields, carried_out_once, number
from kbsync.queries.answers import Answer, explanation
from kbsync.queries.elsewhere import answered_elsewhere
from kbsync.queries.kept import kept_checkpoints
from kbsync.queries.survey import BELIEFS
from kbsync.queries.surveys import Surveys
from kbsync.queries.words import relation_labels

router = APIRouter()
LONGEST = 500


class Prompt(Search):
    """What is asked."""

    prompt: Text = ""
    checkpoint: Text = ""
    """The number of a kept checkpoint that is asked as well."""


@router.get("/ask")
@router.get("/ask.json")
@shared
def explain(request: Request, app: Kbsync, visitor: Seen, asked: Annotated[Prompt, Query()]) -> Response:
    """The ledger's facts with this prompt; no model is loaded."""
    return _ask_page(request, app, asked.prompt, asked.checkpoint)


@router.post("/ask", openapi_extra=description.PROMPT)
def answer(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields) -> Response:
    """The answers of the base, of live and, if one is chosen, of another checkpoint as well."""
    prompt, chosen = fields.one("prompt").strip(), fields.one("checkpoint")
    if not prompt or len(prompt) > LONGEST:
        raise HTTPException(422, f"a prompt has 1 to {LONGEST} characters")
    others = [number(chosen, "checkpoint")] if chosen else []
    try:
        answered = answered_elsewhere(app, prompt, others)
    except (KbsyncError, EditingError) as error:
        status = 503 if isinstance(error, TryLater) else 422
        why = f"{error}. {getattr(error, 'advice', None) or ''}".strip()
        return _ask_page(request, app, prompt, chosen, None, status, why)
    return _ask_page(request, app, prompt, chosen, answered)


def _ask_page(
    request: Request,
    app: Application,
    prompt: str,
    checkpoint: str,
    answered: Answer | None = None,
    status: int = 200,
    refused: str = "",
) -> Response:
    why = explanation(app, prompt, ask=False) if prompt else None
    form = {
        "labels": relation_labels(app),
        "kept": kept_checkpoints(app),
        "checkpoint": checkpoint,
        "refused": refused,
    }
    return page(request, "ask.html", status, prompt=prompt, answered=answered, explained=why, form=form)


@router.get("/survey")
@router.get("/survey.json")
@shared
def beliefs(request: Request, app: Kbsync, visitor: Seen) -> Response:
    """Right, outdated or unknown, per relation and source."""
    surveys: Surveys = request.app.state.surveys
    form = {"labels": relation_labels(app), "beliefs": BELIEFS}
    return page(request, "survey.html", survey=surveys.now(), form=form)


@router.post("/survey", openapi_extra=description.REQUEST)
def ask_the_base(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Have the base asked about every wanted fact that it was not asked about yet."""
    errands: Errands = request.app.state.errands

    def act() -> Response:
        asked = errands.ask("survey", lambda tx: {}, reason="", actor=visitor.name)
        return RedirectResponse(f"/requests/{asked}", 303)

    return carried_out_once(request, visitor, fields, act)
