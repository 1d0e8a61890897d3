"""Who is looking: nobody asks on the loopback interface; elsewhere a token, an OpenID Connect provider, or a proxy."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from fastapi import Depends, Request
from starlette.datastructures import Headers

from kbsync.application import Application
from kbsync.errors import BadConfiguration, UsageError
from kbsync.pages.guard import is_loopback
from kbsync.reasons import checked_name
from kbsync.settings.listening import PagesSettings
from state.records import Role

if TYPE_CHECKING:
    from kbsync.pages.single_sign_on import SingleSignOn

COOKIE = "kbsync_token"
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever sent a request, and what they may do."""

    name: str
    """The actor of their decisions in the audit log."""
    role: Role
    how: Literal["local", "token", "oidc", "proxy"]

    @property
    def identity(self) -> str:
        """How they are known, for the audit log; empty for whoever has this process's own identity."""
        return "" if self.how == "local" else f"{self.name} (signed in by {self.how})"

    def may(self, role: Role) -> bool:
        """Whether this visitor has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)


class NotSignedIn(Exception):
    """A request without a valid token, where one is needed."""


class NotAllowed(Exception):
    """A request that needs another role."""

    def __init__(self, visitor: Visitor, needed: Role) -> None:
        super().__init__(f"this needs the role {needed}; {visitor.name} is {visitor.role}")


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who a visitor is."""

    app: Application
    settings: PagesSettings
    local: bool
    """Whether the pages are open to everybody on this machine, as they are on a loopback address."""
    provider: SingleSignOn | None = None

    @classmethod
    def at(cls, app: Application, host: str) -> Access:
        """The access for pages that are bound to `host`.

        Raises BadConfiguration for an address of the network where nobody could be authenticated, and where the
        packages for OpenID Connect are missing.
        """
        settings = app.settings.pages
        provider = _single_sign_on(app)
        others = settings.proxy_header is not None or provider is not None
        local = is_loopback(host) and not others
        if not local and not others and not _any_token(app):
            raise BadConfiguration(
                f"the pages are not served on {host} without authentication",
                "create a token with `kbsync tokens create NAME`, or listen on 127.0.0.1",
            )
        return cls(app, settings, local, provider)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The host names that are answered to; None: any, since every visitor is authenticated."""
        named = frozenset(name.lower() for name in self.settings.hosts)
        return named | {"localhost", "127.0.0.1", "::1"} if self.local or named else None

    def visitor(self, headers: Headers, cookies: dict[str, str], peer: str) -> Visitor | None:
        """Who sent this; None for somebody unknown."""
        if self.settings.proxy_header is not None and self._is_proxy(peer):
            named = headers.getlist(self.settings.proxy_header)
            if len(named) == 1 and (name := _name_in(named[0])):
                return Visitor(name, self.settings.proxy_role, "proxy")
        if self.provider is not None and (who := self.provider.visitor(cookies)) is not None:
            return Visitor(who.name, who.role, "oidc")
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        secret = sent.strip() if scheme.lower() == "bearer" else cookies.get(COOKIE, "")
        if secret:
            with self.app.state.read() as tx:
                token = tx.token_of(secret)
            return None if token is None else Visitor(token.name, token.role, "token")
        return Visitor(_user(), "operator", "local") if self.local else None

    def is_https(self, request: Request) -> bool:
        """Whether the visitor's browser uses HTTPS, to this server or to a proxy."""
        peer = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-proto") == "https" and self._is_proxy(peer)
        return forwarded or request.url.scheme == "https"

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in ip_network(one, strict=False) for one in self.settings.proxies)


def _name_in(header: str) -> str:
    """The name that a proxy gives in a header; empty if it names nobody."""
    try:
        return checked_name(header)
    except UsageError:
        return ""


def _user() -> str:
    """The operating system's user of this process, who stands for everybody on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without that user
        return "operator"


def _single_sign_on(app: Application) -> SingleSignOn | None:
    """What signs visitors in through the provider of the settings; None if they name none."""
    settings = app.settings.pages.oidc
    if settings is None:
        return None
    try:
        from kbsync.pages.single_sign_on import SingleSignOn
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"[pages.oidc] needs the package {error.name}",
            "install it with `pip install 'kbsync[pages,oidc]'`",
        ) from error
    settings.client_secret()
    return SingleSignOn(settings, app.now)


def _any_token(app: Application) -> bool:
    with app.state.read() as tx:
        now = app.now()
        return any(token.is_valid(now) for token in tx.tokens())


def signed_in(request: Request) -> Visitor:
    """Dependency of every page: the visitor.  Raises NotSignedIn."""
    access: Access = request.app.state.access
    peer = request.client.host if request.client else ""
    found = access.visitor(request.headers, request.cookies, peer)
    if found is None:
        raise NotSignedIn
    request.state.visitor = found
    return found


def reviewer(visitor: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
    """Dependency of decisions.  Raises NotAllowed."""
    return _at_least(visitor, "reviewer")


def operator(visitor: Annotated[Visitor, Depends(signed_in)]) -> Visitor:
    """Dependency of what changes what is live.  Raises NotAllowed."""
    return _at_least(visitor, "operator")


def _at_least(visitor: Visitor, role: Role) -> Visitor:
    if not visitor.may(role):
        raise NotAllowed(visitor, role)
    return visitor


def kbsync_of(request: Request) -> Application:
    """Dependency: the application whose ledger the pages show."""
    app: Application = request.app.state.kbsync
    return app


Seen = Annotated[Visitor, Depends(signed_in)]
Reviewer = Annotated[Visitor, Depends(reviewer)]
Operator = Annotated[Visitor, Depends(operator)]
Kbsync = Annotated[Application, Depends(kbsync_of)]
