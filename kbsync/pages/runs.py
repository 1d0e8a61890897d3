"""`/runs`: every attempt to build, judge and promote; and one of them in full."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from kbsync.application import Application
from kbsync.approvals import approvals, of_candidate
from kbsync.pages.access import Kbsync, Seen
from kbsync.pages.paging import Id, Search, Text
from kbsync.pages.plots import history_plot
from kbsync.pages.rendering import page
from kbsync.pages.shared import shared
from kbsync.queries.revisions import revision_link
from kbsync.queries.run_story import GateLine, RunStory, answers_page, progress_of, requests_about, run_story
from kbsync.queries.words import relation_labels
from state.paging import cut
from state.records import RunState

router = APIRouter()
STATES = get_args(RunState)
PAGE = 30
ANSWERED = 50


class RunSearch(Search):
    """What runs are filtered by."""

    state: Text = ""


@router.get("/runs")
@router.get("/runs.json")
@shared
def runs(request: Request, app: Kbsync, visitor: Seen, search: Annotated[RunSearch, Query()]) -> Response:
    """Runs, newest first."""
    if search.state and search.state not in STATES:
        raise HTTPException(422, f"{search.state!r} is not a state of a run")
    with app.state.read() as tx:
        state = cast(RunState, search.state) if search.state else None
        found = tx.runs(PAGE + 1, state, search.before)
        sizes = {view.digest: view.size for view in tx.views(run.view for run in found).values()}
    shown = cut(found, PAGE, lambda run: run.id)
    return page(
        request,
        "runs.html",
        runs=shown.rows,
        sizes=sizes,
        older=shown.next,
        form={"filters": search.filters, "states": STATES},
    )


@router.get("/runs/{id}")
@router.get("/runs/{id}.json")  # matched first
@shared
def run(request: Request, app: Kbsync, visitor: Seen, id: Id) -> Response:
    """One run."""
    return run_page(request, app, id)


@router.get("/runs/{id}/answers")
@router.get("/runs/{id}/answers.json")
@shared
def answers(
    request: Request, app: Kbsync, visitor: Seen, id: Id, search: Annotated[Search, Query()]
) -> Response:
    """What the models answered before and after the run; `after` is a place in the list."""
    found = answers_page(app, id, request.app.state.reports, search.after, ANSWERED)
    form = {"run": id, "first": search.after + 1}
    return page(request, "answers.html", answers=found.rows, more=found.next, form=form)


def run_page(
    request: Request, app: Kbsync, id: int, status: int = 200, refused: str = "", reason: str = ""
) -> Response:
    """The page of one run; after a refused decision with what was wrong, and the reason that was typed."""
    story = run_story(app, id, request.app.state.reports)
    return page(
        request,
        "run.html",
        status,
        story=story,
        requests=requests_about(app, id),
        form={
            "plots": {(line.result.round, line.result.name): _plot(line) for line in story.gates},
            "labels": relation_labels(app),
            "link": lambda source, subject, revision: revision_link(app, source, subject, revision),
            "refused": refused,
            "reason": reason,
            "approvals": _approvals(app, story),
        },
    )


def _approvals(app: Application, story: RunStory) -> str:
    """Who has approved the candidate, where others still have to; else empty."""
    needed, candidate = app.settings.review.approvals, story.checkpoint
    if needed == 1 or candidate is None or story.run.state != "awaiting_review":
        return ""
    with app.state.read() as tx:
        given = approvals(tx, of_candidate(story.run.id, candidate.digest), needed)
    return str(given) if given.by else ""


@router.get("/runs/{id}/progress", include_in_schema=False)
def progress(request: Request, app: Kbsync, visitor: Seen, id: Id, state: str = "") -> Response:
    """The part of a run's page that is asked for again while it is built; a changed state loads the whole page."""
    with app.state.read() as tx:
        found = tx.run(id)
    answer = page(request, "_progress.html", run=found, progress=progress_of(app, found))
    if found.state != state:
        answer.headers["HX-Refresh"] = "true"
    return answer


def _plot(line: GateLine) -> str:
    result = line.result
    if not line.direction:
        return ""
    text = f"{result.name} in {len(line.history)} runs, passes when {line.condition}"
    return history_plot(line.judged, result.threshold, line.direction, text)
