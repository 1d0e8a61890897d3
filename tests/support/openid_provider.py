"""A small OpenID Connect provider with real RS256 keys, served from a thread of the test's process.

It is as strict as a provider should be (client, redirect address, PKCE, codes that count once), signs whoever `user`
says in without asking, and can be made to lie.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "kbsync-pages", "a s3cret of the client & +%"


@dataclass
class OpenIdProvider:
    """What it says, and what it was asked."""

    issuer: str
    redirect: str
    now: Callable[[], int]
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "email": "ada@example.org"})
    userinfo: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    """Claims of the ID token that are not as they should be; None leaves one out."""
    described: dict[str, Any] = field(default_factory=dict)
    """Changes of the metadata."""
    sign: Callable[[dict[str, Any]], str] | None = None
    """Signs ID tokens in another way."""
    asked: list[str] = field(default_factory=list)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": secrets.token_hex(4)}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def rotate(self) -> None:
        """Sign with a new key, under a new name."""
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4)})

    def answer(self, method: str, target: str, headers: Any, body: str) -> tuple[int, dict[str, str], Any]:
        self.asked.append(f"{method} {target}")
        path, query = urlsplit(target).path, _one_each(urlsplit(target).query)
        if path == "/.well-known/openid-configuration":
            return 200, {}, self._metadata()
        if path == "/keys":
            return 200, {}, KeySet([self.key]).as_dict(private=False)
        if path == "/authorize":
            return self._authorize(query)
        if path == "/token" and method == "POST":
            return self._token(headers, _one_each(body))
        if path == "/userinfo" and headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens:
            return 200, {}, {"sub": self.user["sub"], **self.userinfo}
        return 404, {}, {"error": "not_found"}

    def _metadata(self) -> dict[str, Any]:
        here = self.issuer
        return {
            "issuer": here,
            "authorization_endpoint": f"{here}/authorize",
            "token_endpoint": f"{here}/token",
            "jwks_uri": f"{here}/keys",
            "userinfo_endpoint": f"{here}/userinfo",
            "end_session_endpoint": f"{here}/logout",
            **self.described,
        }

    def _authorize(self, query: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        right = {
            "client_id": CLIENT,
            "redirect_uri": self.redirect,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        wrong = [name for name, value in right.items() if query.get(name) != value]
        missing = [name for name in ("state", "nonce", "code_challenge") if not query.get(name)]
        if wrong or missing or "openid" not in query.get("scope", "").split():
            return 400, {}, {"error": "invalid_request", "about": wrong + missing}
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return 302, {"Location": f"{self.redirect}?{back}"}, {}

    def _token(self, headers: Any, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        given = base64.b64decode(headers.get("Authorization", "").removeprefix("Basic ")).decode()
        client, _, secret = given.partition(":")
        if (unquote(client), unquote(secret)) not in ((CLIENT, SECRET), (CLIENT, SECRET.replace(" ", "+"))):
            return 401, {}, {"error": "invalid_client"}
        query = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            query is None
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != query["code_challenge"]
            or form.get("redirect_uri") != self.redirect
            or form.get("grant_type") != "authorization_code"
        ):
            return 400, {}, {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        self.tokens.add(access)
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": self.now(),
            "exp": self.now() + 300,
            "nonce": query["nonce"],
            **self.user,
            **self.lies,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        sign = self.sign or self._signed
        return 200, {}, {"access_token": access, "token_type": "Bearer", "id_token": sign(claims)}

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


def _one_each(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@contextmanager
def openid_provider(redirect: str, now: Callable[[], int]) -> Iterator[OpenIdProvider]:
    """The provider on a free port, while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, headers, answer = provider.answer(self.command, self.path, self.headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = OpenIdProvider(f"http://127.0.0.1:{server.server_port}", redirect, now)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
