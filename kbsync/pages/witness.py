"""`/witness/…`: this kbsync as a witness of other logs (C2SP's tlog-witness), open to whoever has a signed head.

The signature on a head is all the authentication that the protocol has; nothing of this ledger is shown.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from kbsync.pages.access import Kbsync
from kbsync.proofs import witnessing

router = APIRouter(include_in_schema=False)


@router.post("/witness/add-checkpoint")
async def add_checkpoint(request: Request, app: Kbsync) -> Response:
    """Check a head against the newest one of its log, and cosign it."""
    if not app.settings.witnessed:
        raise HTTPException(404, "this kbsync is no witness: [witnessed.NAME] is not set")
    answer = await run_in_threadpool(witnessing.add_checkpoint, app, await request.body())
    return Response(answer.text, answer.status, media_type=answer.media_type)


@router.get("/witness/checkpoint/{name}")
def checkpoint(app: Kbsync, name: str) -> Response:
    """The newest head of a log that was cosigned here, by its name in the settings; auditors compare it with theirs."""
    settings = app.settings.witnessed.get(name)
    note = None if settings is None else witnessing.newest(app, settings.origin)
    if note is None:
        raise HTTPException(404, f"no head of {name!r} was cosigned here")
    return PlainTextResponse(witnessing.text_of(note))
