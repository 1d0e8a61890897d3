"""`/ask`: what the base and live answer to a prompt, and why; `/survey`: what the base believed before any edit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from kbsync.pages import description
from kbsync.pages.access import Kbsync, Operator, Reviewer, Seen
from kbsync.pages.errands import Errands
from kbsync.pages.paging import Search, Text
from kbsync.pages.rendering import page
from kbsync.pages.submissions import Fields, carried_out_once, new_key
from kbsync.queries.answers import explanation
from kbsync.queries.asking import answered_elsewhere
from kbsync.queries.survey import BELIEFS
from kbsync.queries.surveys import Surveys
from kbsync.queries.words import relation_labels

router = APIRouter()
LONGEST = 500


class Prompt(Search):
    """What is asked."""

    prompt: Text = ""


@router.get("/ask")
@router.get("/ask.json")
def explain(request: Request, app: Kbsync, visitor: Seen, asked: Annotated[Prompt, Query()]) -> Response:
    """The ledger's facts with this prompt; no model is loaded."""
    return _ask_page(request, app, asked.prompt, None)


@router.post("/ask", openapi_extra=description.PROMPT)
def answer(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields) -> Response:
    """The models' answers as well."""
    prompt = fields.one("prompt").strip()
    if not prompt or len(prompt) > LONGEST:
        raise HTTPException(422, f"a prompt has 1 to {LONGEST} characters")
    return _ask_page(request, app, prompt, answered_elsewhere(app, prompt))


def _ask_page(request: Request, app: Kbsync, prompt: str, answered: object) -> Response:
    why = explanation(app, prompt, ask=False) if prompt else None
    labels = relation_labels(app)
    return page(request, "ask.html", prompt=prompt, answered=answered, explained=why, form={"labels": labels})


@router.get("/survey")
@router.get("/survey.json")
def beliefs(request: Request, app: Kbsync, visitor: Seen) -> Response:
    """Right, outdated or unknown, per relation and source."""
    surveys: Surveys = request.app.state.surveys
    form = {"labels": relation_labels(app), "beliefs": BELIEFS, "key": new_key()}
    return page(request, "survey.html", survey=surveys.now(), form=form)


@router.post("/survey", openapi_extra=description.REQUEST)
def ask_the_base(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Have the base asked about every wanted fact that it was not asked about yet."""
    errands: Errands = request.app.state.errands

    def act() -> Response:
        asked = errands.ask("survey", lambda tx: {}, reason="", actor=visitor.name)
        return RedirectResponse(f"/requests/{asked}", 303)

    return carried_out_once(request, visitor, fields, act)
