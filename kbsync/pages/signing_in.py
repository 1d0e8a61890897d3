"""`/sign-in`: a token becomes a cookie, which is checked against the ledger at every request."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from kbsync.pages.access import COOKIE, Kbsync
from kbsync.pages.rendering import page
from kbsync.pages.submissions import Fields

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
def form(request: Request) -> Response:
    """Where a token is typed."""
    return page(request, "sign_in.html", refused="")


@router.post("/sign-in")
def sign_in(request: Request, app: Kbsync, fields: Fields) -> Response:
    """Keep the token in a cookie that scripts cannot read and other sites cannot send."""
    secret = fields.one("token").strip()
    with app.state.read() as tx:
        token = tx.token_of(secret)
    if token is None:
        return page(
            request, "sign_in.html", 401, refused="This token is not known, has ended, or was revoked."
        )
    answer = RedirectResponse("/", 303)
    seconds = max(1, int((token.expires - app.now()).total_seconds()))
    secure = request.app.state.access.is_https(request)
    answer.set_cookie(COOKIE, secret, max_age=seconds, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    """Forget the cookie."""
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
