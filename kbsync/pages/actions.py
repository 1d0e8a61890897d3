"""Decisions as forms: each is a POST under the page it belongs to, with a reason, made by whoever sent it.

The decisions themselves are those of the command line (`kbsync.intake.quarantine`, `kbsync.runs.review`) and requests
to whoever leads; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from kbsync.application import Application
from kbsync.errors import Changed, NoReason, UsageError
from kbsync.intake.quarantine import Outcome, Word, decide
from kbsync.pages import checkpoints, description, quarantine, runs
from kbsync.pages.access import Kbsync, Operator, Reviewer, Visitor
from kbsync.pages.errands import Errands, Resolve
from kbsync.pages.paging import Id, Search
from kbsync.pages.rendering import page
from kbsync.pages.submissions import Fields, FormFields, carried_out_once, number
from kbsync.queries.quarantine import dossier
from kbsync.reasons import checked
from kbsync.runs import review
from kbsync.service.actions import resolve_rollback
from state import Transaction

router = APIRouter()
WORDS: Mapping[str, Word] = {
    "approve": "approve",
    "reject": "reject",
    "reopen": "reopen",
    "retract": "reject",
    "unretract": "reopen",
}
"""What a form says, and the decision that it is."""
Spoken = Literal["approve", "reject", "reopen", "retract", "unretract"]


@router.post("/quarantine/decide", openapi_extra=description.DECISIONS)
def decide_many(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields) -> Response:
    """Decide about several facts; with the field `rehearse`, only show what would happen."""
    word = WORDS.get(fields.one("word"))
    if word is None:
        raise HTTPException(422, "word: approve, reject or reopen")
    versions = _versions(fields)
    rehearse = bool(fields.one("rehearse"))
    back = quarantine.WaitingSearch.model_validate(dict(request.query_params))
    if not versions:
        return quarantine.list_page(request, app, back, 422, ["Choose at least one fact."])

    def act() -> Response:
        reason = fields.reason or ("a rehearsal" if rehearse else "")
        outcome = decide(app.intake(), word, versions, reason, visitor.name, rehearse=rehearse)
        return _outcome(request, outcome, word, fields)

    def refused(status: int, message: str) -> Response:
        return quarantine.list_page(request, app, back, status, [message])

    # A rehearsal changes nothing, so its form may be sent again.
    return _decided(request, visitor, None if rehearse else fields, act, refused)


def _versions(fields: FormFields) -> dict[int, str]:
    """Each chosen fact with the version that was shown: fields `fact` with values such as `12:3f…`."""
    pairs = (value.partition(":") for value in fields.all("fact"))
    return {number(id, "fact"): version for id, _, version in pairs}


def _outcome(request: Request, outcome: Outcome, word: Word, fields: FormFields) -> Response:
    return page(
        request,
        "decided.html",
        outcome=outcome,
        word=word,
        reason=fields.reason,
        facts=fields.all("fact"),
        key=fields.one("key"),
    )


@router.post("/quarantine/{id}/{word}", openapi_extra=description.DECISION)
@router.post("/facts/{id}/{word}", openapi_extra=description.DECISION)
def decide_one(
    request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id, word: Spoken
) -> Response:
    """Decide about one fact."""
    # A page with several values has the version of each; `version` is that of the one it is about.
    version = fields.one(f"version-{id}") or fields.one("version")
    chosen: Mapping[int, str] | list[int] = {id: version} if version else [id]

    def act() -> Response:
        outcome = decide(app.intake(), WORDS[word], chosen, fields.reason, visitor.name)
        said = "" if outcome.seconded else f"?decided={word}"
        return RedirectResponse(f"/quarantine/{id}{said}", 303)

    def refused(status: int, message: str) -> Response:
        return quarantine.review_page(request, app, dossier(app, id), status, message, fields.reason)

    return _decided(request, visitor, fields, act, refused)


@router.post("/runs/{id}/approve", openapi_extra=description.ABOUT_CANDIDATE)
def approve_run(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id) -> Response:
    """Approve a run's candidate, by its digest: once enough people have, whoever leads promotes it."""
    digest = fields.one("digest") or None

    def act() -> None:
        if not review.give_approval(app, id, fields.reason, visitor.name, digest).missing:
            _ask(request, visitor, fields, "approve-run", lambda tx: review.candidate_of(tx, id, digest))

    return _about_run(request, app, visitor, fields, id, act)


@router.post("/runs/{id}/reject", openapi_extra=description.ABOUT_CANDIDATE)
def reject_run(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id) -> Response:
    """Reject a run's candidate: live stays as it is."""
    digest = fields.one("digest") or None

    def act() -> None:
        review.reject_run(app, id, fields.reason, visitor.name, digest=digest)

    return _about_run(request, app, visitor, fields, id, act)


def _about_run(
    request: Request, app: Application, visitor: Visitor, fields: FormFields, id: int, act: Callable[[], None]
) -> Response:
    def answered() -> Response:
        act()
        return RedirectResponse(f"/runs/{id}", 303)

    def refused(status: int, message: str) -> Response:
        return runs.run_page(request, app, id, status, message, fields.reason)

    return _decided(request, visitor, fields, answered, refused)


@router.post("/checkpoints/rollback", openapi_extra=description.ROLLBACK)
def rollback(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Go back to a checkpoint that was live before; `live` names the one that the operator saw as live."""
    target = fields.number("to") if fields.one("to") else None
    seen = fields.number("live") if fields.one("live") else None

    def resolve(tx: Transaction) -> dict[str, Any]:
        resolved = resolve_rollback(tx, target)
        if seen is not None and resolved["left"] != seen:
            raise Changed(
                f"checkpoint {resolved['left']} is live now, not {seen} as it was shown",
                "look at the checkpoints again and decide again",
            )
        return resolved

    def act() -> Response:
        with app.state.write() as tx:
            resolve(tx)
        if review.give_approval_of_rollback(app, target, fields.reason, visitor.name).missing:
            return RedirectResponse("/checkpoints", 303)
        asked = _ask(request, visitor, fields, "rollback", resolve)
        return RedirectResponse(f"/requests/{asked}", 303)

    return _about_checkpoints(request, app, visitor, fields, act)


@router.post("/checkpoints/{id}/{word}", openapi_extra=description.KEEPING)
def keep(
    request: Request,
    app: Kbsync,
    visitor: Operator,
    fields: Fields,
    id: Id,
    word: Literal["pin", "unpin", "release"],
) -> Response:
    """Keep a checkpoint for good, or no longer; or allow the view of a rolled-back one again."""

    def act() -> Response:
        reason = checked(fields.reason)
        with app.state.write() as tx:
            if word == "release":
                tx.release_view(tx.checkpoint(id).view, reason, visitor.name)
            else:
                (tx.pin if word == "pin" else tx.unpin)(id, reason, visitor.name)
        return RedirectResponse("/checkpoints", 303)

    return _about_checkpoints(request, app, visitor, fields, act)


def _about_checkpoints(
    request: Request, app: Application, visitor: Visitor, fields: FormFields, act: Callable[[], Response]
) -> Response:
    def refused(status: int, message: str) -> Response:
        return checkpoints.list_page(request, app, Search(), status, message, fields.reason)

    return _decided(request, visitor, fields, act, refused)


@router.post("/sync", openapi_extra=description.REQUEST)
def sync(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Ask for a cycle now."""

    def act() -> Response:
        asked = _ask(request, visitor, fields, "sync", lambda tx: {"bootstrap": False}, reason="asked for")
        return RedirectResponse(f"/requests/{asked}", 303)

    return carried_out_once(request, visitor, fields, act)


@router.get("/requests/{id}")
@router.get("/requests/{id}.json")  # matched first
def asked_for(request: Request, app: Kbsync, visitor: Operator, id: Id) -> Response:
    """A request and, once there is one, its answer."""
    with app.state.read() as tx:
        found = tx.request(id)
        lease, open_runs = tx.lease("leader"), tx.open_runs()
    return page(request, "request.html", asked=found, lease=lease, open_runs=open_runs)


def _ask(
    request: Request,
    visitor: Visitor,
    fields: FormFields,
    action: str,
    resolve: Resolve,
    reason: str | None = None,
) -> int:
    """Have whoever leads asked for something, with the form's reason; the number of the request."""
    errands: Errands = request.app.state.errands
    why = checked(fields.reason) if reason is None else reason
    return errands.ask(action, resolve, reason=why, actor=visitor.name)


def _decided(
    request: Request,
    visitor: Visitor,
    fields: FormFields | None,
    act: Callable[[], Response],
    refused: Callable[[int, str], Response],
) -> Response:
    """The answer of `act`, carried out once for the key of `fields`; or the page with what was wrong.

    The status is 422 without a reason, and 409 for what has changed or cannot be decided so.
    """
    try:
        return carried_out_once(request, visitor, fields, act)
    except UsageError as error:
        status = 422 if isinstance(error, NoReason) else 409
        return refused(status, f"{error}. {error.advice or ''}".strip())
