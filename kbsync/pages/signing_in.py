"""`/sign-in`: a token, or a provider's word for it, becomes a cookie, which is checked at every request."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from kbsync.pages.access import COOKIE, Access, Kbsync
from kbsync.pages.rendering import page
from kbsync.pages.submissions import Fields

router = APIRouter(include_in_schema=False)
see_other = partial(RedirectResponse, status_code=303)


def _page(
    request: Request, status: int = 200, refused: str = "", provider_sign_out: str | None = None
) -> Response:
    access: Access = request.app.state.access
    issuer = None if access.provider is None else access.provider.settings.issuer
    return page(
        request, "sign_in.html", status, refused=refused, issuer=issuer, provider_sign_out=provider_sign_out
    )


@router.get("/sign-in")
def form(request: Request) -> Response:
    """Where a token is typed, or a provider chosen."""
    return _page(request)


@router.post("/sign-in")
def sign_in(request: Request, app: Kbsync, fields: Fields) -> Response:
    """Keep the token in a cookie that scripts cannot read and other sites cannot send."""
    secret = fields.one("token").strip()
    with app.state.read() as tx:
        token = tx.token_of(secret)
    if token is None:
        return _page(request, 401, "This token is not known, has ended, or was revoked.")
    answer = see_other("/")
    seconds = max(1, int((token.expires - app.now()).total_seconds()))
    secure = request.app.state.access.is_https(request)
    answer.set_cookie(COOKIE, secret, max_age=seconds, httponly=True, samesite="strict", secure=secure)
    return answer


@router.get("/sign-in/oidc")
def begin(request: Request) -> Response:
    """Send the browser to the provider."""
    from kbsync.pages.oidc import SignInFailed

    access: Access = request.app.state.access
    if access.provider is None:
        raise HTTPException(404)
    try:
        return access.provider.begin(see_other)
    except SignInFailed as error:
        return _page(request, 503, f"{error}. {error.advice or ''}".strip())


@router.get("/sign-in/oidc/callback")
def finish(request: Request) -> Response:
    """The browser comes back from the provider; a failure signs nobody in."""
    from kbsync.pages.oidc import SignInFailed

    access: Access = request.app.state.access
    if access.provider is None:
        raise HTTPException(404)
    try:
        return access.provider.finish(request.cookies, dict(request.query_params), see_other)
    except SignInFailed as error:
        refused = _page(request, 401, f"{error}. {error.advice or ''}".strip())
        access.provider.forget_begun(refused)
        return refused


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session and forget the cookies; the page names where to sign out of the provider too."""
    access: Access = request.app.state.access
    answer: Response = see_other("/sign-in")
    if access.provider is not None:
        if (elsewhere := access.provider.end(request.cookies)) is not None:
            answer = _page(request, provider_sign_out=elsewhere)
        access.provider.forget_session(answer)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=access.is_https(request))
    return answer
