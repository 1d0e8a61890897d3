"""Signing in through an OpenID Connect provider: the authorization code flow with PKCE.

OpenID Connect Core 1.0 (section 3.1), Discovery 1.0, PKCE (RFC 7636), issuer in the answer (RFC 9207).  `begin` makes
the address to which the browser goes, and what it must keep until it comes back; `finish` checks what it comes back
with.  Nothing is kept here in between but the provider's description and its keys.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, object_of
from kbsync.errors import KbsyncError
from kbsync.settings.oidc import LOOPBACK, OidcSettings
from state.records import Role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures of ID tokens that are accepted: those whose key the provider alone has."""
FRESH = timedelta(hours=1)
"""How long the provider's description and its keys are believed."""
LEEWAY_S = 60
"""Seconds by which the provider's clock may differ."""
TIMEOUT_S = 10.0
LONGEST_NAME = 200
ROLES: tuple[Role, ...] = get_args(Role)


class SignInFailed(KbsyncError):
    """The provider, or what the browser came back with, signs nobody in; the message may be shown."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun, as the browser keeps it."""

    state: str
    nonce: str
    verifier: str

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Begun:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom the provider signed in."""

    name: str
    role: Role


class Provider:
    """One OpenID Connect provider, as its own description tells."""

    def __init__(self, settings: OidcSettings, now: Callable[[], datetime]) -> None:
        self.settings, self.now = settings, now
        self._found: tuple[datetime, Mapping[str, Any]] | None = None
        self._keys: tuple[datetime, KeySet] | None = None

    def begin(self) -> tuple[str, Begun]:
        """Where to send the browser, and what it must keep; raises SignInFailed."""
        begun = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))
        address = prepare_grant_uri(
            self._described()["authorization_endpoint"],
            client_id=self.settings.client_id,
            response_type="code",
            redirect_uri=self.settings.redirect_address,
            scope=list(self.settings.scopes),
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        return address, begun

    def finish(self, begun: Begun, answer: Mapping[str, str]) -> SignedIn:
        """Whom the provider signed in; raises SignInFailed if it is not so, or if the user has no role."""
        described = self._described()
        if not secrets.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInFailed("this answer belongs to another sign-in", "sign in again")
        if answer.get("iss", described["issuer"]) != described["issuer"]:
            raise SignInFailed("this answer is another provider's", "sign in again")
        if "error" in answer:
            raise SignInFailed(f"the provider refused: {answer['error'][:100]}", "sign in again")
        if not answer.get("code"):
            raise SignInFailed("the provider's answer has no code", "sign in again")
        tokens = self._redeemed(answer["code"], begun.verifier)
        claims = self._claims(tokens, begun.nonce)
        return self._admitted(self._completed(claims, tokens))

    def end_session(self) -> str | None:
        """The provider's address for signing out there as well (RP-Initiated Logout 1.0, section 2), if it has one."""
        url = self._described().get("end_session_endpoint")
        if url is None:
            return None
        _check_endpoint("end_session_endpoint", url)
        back = {
            "client_id": self.settings.client_id,
            "post_logout_redirect_uri": f"{self.settings.address}/sign-in",
        }
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(back)}"

    def _described(self) -> Mapping[str, Any]:
        """The provider's metadata (Discovery 1.0, section 4)."""
        if self._found is not None and self.now() < self._found[0] + FRESH:
            return self._found[1]
        found = self._fetched(f"{self.settings.issuer}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != self.settings.issuer:
            raise SignInFailed(
                f"the provider calls itself {str(found.get('issuer'))[:200]!r}, not {self.settings.issuer}",
                "correct `issuer` in [pages.oidc]",
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _check_endpoint(name, found.get(name))
        self._found = (self.now(), found)
        return found

    def _redeemed(self, code: str, verifier: str) -> Mapping[str, Any]:
        """The tokens for a code (Core 1.0, section 3.1.3)."""
        settings, described = self.settings, self._described()
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=settings.redirect_address, code_verifier=verifier
        )
        secret = settings.client_secret()
        offered = described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
        client = ClientAuth(settings.client_id, secret, method if secret else "none")
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url, headers, body = client.prepare("POST", described["token_endpoint"], headers, body)
        try:
            tokens = object_of(Server(url, None, TIMEOUT_S).post(body=body.encode(), headers=headers))
        except HookFailed as error:
            raise SignInFailed(f"the provider gave no token: {error}", "sign in again") from error
        if not isinstance(tokens.get("id_token"), str):
            raise SignInFailed("the provider gave no ID token", "is `openid` among the client's scopes?")
        return tokens

    def _claims(self, tokens: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """The claims of the ID token, verified (Core 1.0, section 3.1.3.7)."""
        try:
            token = self._decoded(tokens["id_token"])
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self._described()["issuer"]},
                    "aud": {"essential": True, "value": self.settings.client_id},
                },
                {
                    "nonce": nonce,
                    "client_id": self.settings.client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(int(self.now().timestamp()), LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            raise SignInFailed(f"the provider's ID token is not valid: {error}", "sign in again") from error
        return dict(claims)

    def _decoded(self, text: str) -> jwt.Token:
        try:
            return jwt.decode(text, self._key_set(), algorithms=list(ALGORITHMS))
        except (InvalidKeyIdError, ValueError):
            self._keys = None  # the provider may have new keys
            return jwt.decode(text, self._key_set(), algorithms=list(ALGORITHMS))

    def _key_set(self) -> KeySet:
        if self._keys is None or self.now() >= self._keys[0] + FRESH:
            found = self._fetched(self._described()["jwks_uri"])
            self._keys = (self.now(), KeySet.import_key_set(found))  # type: ignore[arg-type]
        return self._keys[1]

    def _completed(self, claims: Mapping[str, Any], tokens: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims, with those of the userinfo endpoint where the ID token lacks what is needed."""
        url = self._described().get("userinfo_endpoint")
        needed = (self.settings.name_claim, self.settings.role_claim)
        if (
            url is None
            or "access_token" not in tokens
            or all(_claim(claims, one) is not None for one in needed)
        ):
            return claims
        _check_endpoint("userinfo_endpoint", url)
        info = self._fetched(str(url), str(tokens["access_token"]))
        if info.get("sub") != claims["sub"]:
            raise SignInFailed("the provider's userinfo is about another user", "sign in again")
        return {**info, **claims}

    def _admitted(self, claims: Mapping[str, Any]) -> SignedIn:
        """The visitor's name and role; raises SignInFailed for a user who has none."""
        settings = self.settings
        name = _claim(claims, settings.name_claim)
        if (
            not isinstance(name, str)
            or not name.strip()
            or len(name) > LONGEST_NAME
            or not name.isprintable()
        ):
            raise SignInFailed(
                f"the provider does not name you: it gave no usable claim {settings.name_claim!r}",
                "ask an operator to change `name_claim` or `scopes` in [pages.oidc]",
            )
        if settings.name_claim == "email" and claims.get("email_verified") is False:
            raise SignInFailed(
                "the provider has not verified your address", "verify it there, then sign in again"
            )
        groups = _claim(claims, settings.role_claim)
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        held = [settings.roles[one] for one in listed if isinstance(one, str) and one in settings.roles]
        if settings.default_role is not None:
            held.append(settings.default_role)
        if not held:
            raise SignInFailed(
                f"{name.strip()} has no role in kbsync",
                "ask an operator to add you to a group in [pages.oidc] roles",
            )
        return SignedIn(name.strip(), max(held, key=ROLES.index))

    def _fetched(self, url: str, token: str | None = None) -> dict[str, Any]:
        try:
            return object_of(Server(url, token, TIMEOUT_S).get())
        except HookFailed as error:
            raise SignInFailed(f"the provider cannot be asked: {error}", "try again later") from error


def _check_endpoint(name: str, url: object) -> None:
    """Raise SignInFailed for an address that the provider must not name: only this machine is asked in the clear."""
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    if parts.hostname and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    ):
        return
    raise SignInFailed(f"the provider names no usable {name}: {str(url)[:200]!r}", "is `issuer` right?")


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by the names on the way to it, such as `realm_access.roles`; None if there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
