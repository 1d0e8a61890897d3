"""The provider's part of access: cookies and sessions around `kbsync.pages.oidc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from starlette.responses import Response

from kbsync.pages.oidc import Begun, Provider, SignedIn, SignInFailed
from kbsync.pages.sessions import TO_SIGN_IN, Sealed, Sessions
from kbsync.settings.oidc import OidcSettings

log = structlog.get_logger()


class SingleSignOn:
    """Signs browsers in and out through one provider."""

    def __init__(self, settings: OidcSettings, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self._provider = Provider(settings, now)
        self._sessions: Sessions[SignedIn] = Sessions(now, settings.session)
        self._sealed = Sealed(now)
        # A browser takes a cookie with this prefix only from this very host, over HTTPS (RFC 6265bis, section 4.1.3.2).
        prefix = "__Host-" if settings.secure else ""
        self._session_cookie, self._begun_cookie = f"{prefix}kbsync_session", f"{prefix}kbsync_sign_in"

    def visitor(self, cookies: Mapping[str, str]) -> SignedIn | None:
        """Who is signed in with these cookies; None for nobody."""
        secret = cookies.get(self._session_cookie, "")
        return self._sessions.of(secret) if secret else None

    def begin(self, redirect: Callable[[str], Response]) -> Response:
        """The answer that sends a browser to the provider; raises SignInFailed."""
        address, begun = self._provider.begin()
        answer = redirect(address)
        self._set(answer, self._begun_cookie, self._sealed.seal(begun.text()), TO_SIGN_IN.total_seconds())
        return answer

    def finish(
        self, cookies: Mapping[str, str], sent: Mapping[str, str], redirect: Callable[[str], Response]
    ) -> Response:
        """The answer that signs a browser in which comes back from the provider; raises SignInFailed."""
        kept = self._sealed.open(cookies.get(self._begun_cookie, ""))
        if kept is None:
            raise SignInFailed(
                "this browser has not begun to sign in here, or took too long", "sign in again"
            )
        who = self._provider.finish(Begun.of(kept), sent)
        log.info("pages.signed_in", name=who.name, role=who.role, issuer=self.settings.issuer)
        answer = redirect("/")
        secret = self._sessions.start(who)
        self._set(answer, self._session_cookie, secret, self.settings.session.total_seconds())
        self.forget_begun(answer)
        return answer

    def end(self, cookies: Mapping[str, str]) -> str | None:
        """End the browser's session; the provider's own address for signing out, if there was one and it has one."""
        if self._sessions.end(cookies.get(self._session_cookie, "")) is None:
            return None
        try:
            return self._provider.end_session()
        except SignInFailed as error:
            log.warning("pages.provider_unavailable", reason=str(error))
            return None

    def forget_session(self, answer: Response) -> None:
        """Have the browser forget its session."""
        self._delete(answer, self._session_cookie)

    def forget_begun(self, answer: Response) -> None:
        """Have the browser forget a sign-in that it had begun: it counts once."""
        self._delete(answer, self._begun_cookie)

    def _set(self, answer: Response, name: str, value: str, seconds: float) -> None:
        # Lax: the browser comes back from the provider's site. Forms are protected by their origin (`guard.py`).
        answer.set_cookie(
            name, value, max_age=int(seconds), httponly=True, samesite="lax", secure=self.settings.secure
        )

    def _delete(self, answer: Response, name: str) -> None:
        answer.delete_cookie(name, httponly=True, samesite="lax", secure=self.settings.secure)
