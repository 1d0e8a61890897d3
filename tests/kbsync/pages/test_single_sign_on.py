"""Signing in through an OpenID Connect provider: a real one, small, over real sockets."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from kbsync.application import Application
from kbsync.errors import BadConfiguration
from kbsync.pages.access import Access
from kbsync.pages.server import serving
from kbsync.queries.config_check import check_settings
from tests.support.openid_provider import CLIENT, SECRET, OpenIdProvider, openid_provider
from tests.support.reviewed import Reviewed, reviewed

SETTINGS = """
[pages.oidc]
issuer = '{issuer}'
client_id = '{client}'
client_secret_file = '{secret}'
address = '{address}'
{extra}
[pages.oidc.roles]
reviewers = 'reviewer'
admins = 'operator'
"""


@dataclass
class Served:
    """Pages with a provider, and a browser."""

    home: Reviewed
    provider: OpenIdProvider
    browser: httpx.Client

    def sign_in(self, browser: httpx.Client | None = None) -> httpx.Response:
        """The last answer of the way to the provider and back."""
        return (browser or self.browser).get("/sign-in/oidc", follow_redirects=True)

    def back_from_provider(self) -> str:
        """Where the provider sends the browser that has begun to sign in, before it goes there."""
        to = self.browser.get("/sign-in/oidc").headers["location"]
        return self.browser.get(to).headers["location"]


def replayed(address: str, cookies: dict[str, str]) -> int:
    """The status that another browser gets with copied cookies."""
    with httpx.Client(cookies=cookies, timeout=60, headers={"Accept": "text/html"}) as thief:
        return thief.get(address).status_code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def signing_in(
    tmp_path: Path, extra: str = "", address: str = "", listen: str = "127.0.0.1"
) -> Iterator[Served]:
    port = free_port()
    address = address or f"http://127.0.0.1:{port}"
    secret = tmp_path / "client_secret"
    secret.write_text(f"{SECRET}\n")
    made: list[Reviewed] = []
    with openid_provider(
        f"{address}/sign-in/oidc/callback", lambda: int(made[0].place.clock().timestamp())
    ) as provider:
        settings = SETTINGS.format(
            issuer=provider.issuer, client=CLIENT, secret=secret, address=address, extra=extra
        )
        made.append(reviewed(tmp_path, settings))
        app = made[0].place.application()
        provider.user["groups"] = ["reviewers", "staff"]
        with (
            Application(app.home, app.settings, now=app.now) as own,
            serving(own, f"{listen}:{port}"),
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Accept": "text/html"}, timeout=60
            ) as browser,
        ):
            yield Served(made[0], provider, browser)
        app.state.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with signing_in(tmp_path) as made:
        yield made


def test_a_visitor_signs_in_decides_under_their_name_and_signs_out(served: Served) -> None:
    browser = served.browser
    turned_away = browser.get("/facts")
    assert turned_away.status_code == 303, "the loopback interface is not open any more"
    assert "Sign in with 127.0.0.1" in browser.get("/sign-in").text
    home = served.sign_in()
    assert home.status_code == 200
    assert "ada@example.org" in home.text
    anna = served.home.conflict("Anna")
    assert browser.post(f"/quarantine/{anna.id}/reject", data={"reason": "no"}).status_code == 303
    with served.home.place.application().state.read() as tx:
        assert tx.events(kind="fact.rejected")[0].actor == "ada@example.org"
    assert browser.post("/sync").status_code == 403, "a reviewer is no operator"
    cookies = dict(browser.cookies)
    left = browser.post("/sign-out")
    assert f"{served.provider.issuer}/logout" in left.text, "and it says where to sign out of the provider"
    assert browser.get("/facts").status_code == 303
    assert replayed(f"{browser.base_url}/facts", cookies) == 303, "the session has ended, not only the cookie"
    assert served.sign_in().status_code == 200, "once more"


def test_two_browsers_are_two_visitors(served: Served) -> None:
    with httpx.Client(base_url=served.browser.base_url, headers={"Accept": "text/html"}, timeout=60) as other:
        served.sign_in()
        served.provider.user = {"sub": "2", "email": "bob@example.org", "groups": ["admins"]}
        assert "bob@example.org" in served.sign_in(other).text
        assert "ada@example.org" in served.browser.get("/").text
        other.post("/sign-out")
        assert served.browser.get("/facts").status_code == 200
        assert other.get("/facts").status_code == 303


def test_a_session_ends_by_itself(served: Served) -> None:
    served.sign_in()
    served.home.place.clock.forward(hours=7)
    assert served.browser.get("/facts").status_code == 200
    served.home.place.clock.forward(hours=2)
    assert served.browser.get("/facts").status_code == 303


def test_cookies_are_kept_from_scripts_other_sites_and_plain_http(tmp_path: Path) -> None:
    with signing_in(tmp_path, address="https://kbsync.example.org") as served:
        begun = served.browser.get("/sign-in/oidc")
        kept = begun.headers["set-cookie"]
        assert kept.startswith("__Host-kbsync_sign_in=")
        back = httpx.get(begun.headers["location"]).headers["location"]
        assert back.startswith("https://kbsync.example.org/sign-in/oidc/callback?")
        query = back.partition("?")[2]
        done = served.browser.get(
            f"/sign-in/oidc/callback?{query}", headers={"Cookie": kept.partition(";")[0]}
        )
        assert done.status_code == 303
        (session, forgotten) = done.headers.get_list("set-cookie")
        for cookie in (kept, session):
            for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
                assert attribute in cookie
            assert "Domain" not in cookie
        assert "Max-Age=0" in forgotten
        assert session.startswith("__Host-kbsync_session=")


def test_the_highest_role_of_the_groups_counts(served: Served) -> None:
    for groups, role in ((["reviewers", "admins"], "operator"), ("reviewers", "reviewer")):
        served.provider.user["groups"] = groups
        assert f"role: {role}" in served.sign_in().text


def test_a_user_without_a_role_is_refused(served: Served) -> None:
    for groups in ([], None, ["staff"], ["operator"], [["admins"]], {"admins": 1}, 3):
        served.provider.user["groups"] = groups
        answer = served.sign_in()
        assert answer.status_code == 401, groups
        assert "has no role in kbsync" in answer.text
        assert served.browser.get("/facts").status_code == 303


def test_a_default_role_and_nested_claims(tmp_path: Path) -> None:
    extra = "default_role = 'viewer'\nrole_claim = 'realm_access.roles'\nname_claim = 'preferred_username'\n"
    with signing_in(tmp_path, extra) as served:
        served.provider.user |= {"preferred_username": "ada", "realm_access": {"roles": ["admins"]}}
        assert "role: operator" in served.sign_in().text
        served.provider.user["realm_access"] = {"roles": []}
        assert "role: viewer" in served.sign_in().text


def test_what_the_id_token_lacks_is_asked_of_userinfo(served: Served) -> None:
    del served.provider.user["groups"]
    served.provider.userinfo = {"groups": ["admins"]}
    assert "role: operator" in served.sign_in().text
    served.provider.userinfo["sub"] = "2"
    assert "userinfo is about another user" in served.sign_in().text


def none_signed(claims: dict) -> str:
    parts = (json.dumps(one).encode() for one in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."


def by_secret(claims: dict) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))


def by_strangers_key(claims: dict) -> str:
    key = RSAKey.generate_key(2048, {"kid": "stranger"})
    return jwt.encode({"alg": "RS256", "kid": "stranger"}, claims, key)


def test_only_the_providers_signature_counts(served: Served) -> None:
    for sign in (none_signed, by_secret, by_strangers_key, lambda claims: "no.token"):
        served.provider.sign = sign
        answer = served.sign_in()
        assert answer.status_code == 401, sign
        assert "ID token is not valid" in answer.text
        assert served.browser.get("/facts").status_code == 303


LIES = (
    {"iss": "https://evil.example"},
    {"aud": "another-client"},
    {"aud": [CLIENT, "another-client"], "azp": "another-client"},
    {"exp": 1},
    {"exp": None},
    {"iat": None},
    {"sub": None},
    {"nonce": "another"},
    {"nonce": None},
    {"nbf": 2**40},
)


def test_an_id_token_of_another_sign_in_is_refused(served: Served) -> None:
    for lie in LIES:
        served.provider.lies = lie
        answer = served.sign_in()
        assert answer.status_code == 401, lie
        assert "ID token is not valid" in answer.text


def test_a_user_without_a_usable_name_is_refused(served: Served) -> None:
    for name in [None, "", " ", "ada\n", "x" * 201, 7, ["ada"], "a\u202eb"]:
        served.provider.user["email"] = name
        assert "does not name you" in served.sign_in().text, name


def test_an_address_that_was_not_verified_is_nobodys(served: Served) -> None:
    served.provider.user["email_verified"] = False
    assert "has not verified" in served.sign_in().text
    served.provider.user["email_verified"] = True
    assert served.sign_in().status_code == 200


def test_an_answer_counts_once_and_only_for_the_browser_that_asked(served: Served) -> None:
    back = served.back_from_provider()
    with httpx.Client(timeout=60) as victim:
        assert victim.get(back).status_code == 401, "login CSRF: this browser has not begun"
    cookies = dict(served.browser.cookies)
    assert served.browser.get(back).status_code == 303
    assert served.browser.get(back).status_code == 401, "its cookie is gone"
    assert replayed(back, cookies) == 401, "and its code is spent"


def test_state_code_and_issuer_must_be_those_of_this_sign_in(served: Served) -> None:
    for changes in (
        {"state": "another"},
        {"state": ""},
        {"code": "guessed"},
        {"code": ""},
        {"iss": "https://evil.example"},
        {"error": "access_denied"},
    ):
        back = httpx.URL(served.back_from_provider())
        assert served.browser.get(back.copy_merge_params(changes)).status_code == 401, changes
        assert served.browser.get("/facts").status_code == 303


def test_a_forged_or_old_cookie_of_a_sign_in_is_refused(served: Served) -> None:
    back = served.back_from_provider()
    name, kept = "kbsync_sign_in", served.browser.cookies["kbsync_sign_in"]
    served.browser.cookies.clear()
    body, _, mac = kept.partition(".")
    other = base64.urlsafe_b64encode(base64.urlsafe_b64decode(body) + b" ").decode()
    for forged in (f"{other}.{mac}", f"{body}.", body, "", ".", "é"):
        header = f"{name}={forged}".encode("latin-1")
        assert served.browser.get(back, headers=[(b"Cookie", header)]).status_code == 401, forged
    served.home.place.clock.forward(minutes=11)
    assert served.browser.get(back, headers={"Cookie": f"{name}={kept}"}).status_code == 401


def test_new_keys_of_the_provider_are_found(served: Served) -> None:
    assert served.sign_in().status_code == 200
    served.provider.rotate()
    assert served.sign_in().status_code == 200


STRANGE = (
    {"issuer": "https://evil.example"},
    {"token_endpoint": "http://evil.example/token"},
    {"jwks_uri": "file:///etc/passwd"},
    {"authorization_endpoint": None},
    {"authorization_endpoint": "javascript:alert(1)"},
)


def test_a_provider_that_describes_itself_strangely_is_refused(served: Served) -> None:
    for described in STRANGE:
        served.provider.described = described
        answer = served.browser.get("/sign-in/oidc")
        assert answer.status_code == 503, described
        assert "provider" in answer.text


def test_a_provider_that_is_down_is_said_to_be(tmp_path: Path) -> None:
    with signing_in(tmp_path) as served:
        served.provider.described = {"jwks_uri": f"http://127.0.0.1:{free_port()}/keys"}
        answer = served.sign_in()
        assert answer.status_code == 401
        assert "cannot be asked" in answer.text


def test_a_session_is_no_protection_for_another_sites_form(served: Served) -> None:
    served.sign_in()
    anna = served.home.conflict("Anna")
    answer = served.browser.post(
        f"/quarantine/{anna.id}/reject", data={"reason": "x"}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403


def test_no_secret_is_shown_or_stored(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = served.sign_in().text
    for address in ("/audit", "/status.json", "/openapi.json", "/metrics", "/sign-in"):
        shown += served.browser.get(address).text
    shown += "".join(capfd.readouterr()) + "".join(served.provider.asked)
    session = served.browser.cookies["kbsync_session"]
    for secret in (SECRET, session, *served.provider.tokens):
        assert secret not in shown
        for file in (tmp_path / "home").rglob("*"):
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("issuer", "http://login.example.org", "use https"),
        ("address", "https://kbsync.example.org/kbsync", "root of their host"),
        ("scopes", ["email"], "openid"),
        ("roles", {}, "nobody could sign in"),
        ("roles", {"x": "king"}, "operator"),
        ("client_id", "", "at least 1 character"),
        ("client_secret_env", "X", "not both"),
    ],
)
def test_settings_that_sign_nobody_in_are_refused(key: str, value: object, complaint: str) -> None:
    from pydantic import ValidationError

    from kbsync.settings.oidc import OidcSettings

    right = {
        "issuer": "https://login.example.org",
        "client_id": "kbsync",
        "client_secret_file": "/run/secret",
        "address": "https://kbsync.example.org",
        "roles": {"x": "viewer"},
    }
    assert OidcSettings(**right).redirect_address == "https://kbsync.example.org/sign-in/oidc/callback"
    with pytest.raises(ValidationError, match=complaint):
        OidcSettings(**{**right, key: value})


def test_a_missing_client_secret_is_reported_before_anybody_signs_in(tmp_path: Path) -> None:
    settings = SETTINGS.format(
        issuer="https://login.example.org",
        client=CLIENT,
        secret=tmp_path / "missing",
        address="https://kbsync.example.org",
        extra="",
    )
    home = reviewed(tmp_path, settings)
    with pytest.raises(BadConfiguration, match="missing"):
        Access.at(home.place.application(), "127.0.0.1")
    problems = {one.where: one.what for one in check_settings(home.place.application()).problems}
    assert "missing" in problems["[pages.oidc]"]
    home.place.application().state.close()
