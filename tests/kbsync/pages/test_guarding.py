"""Attacks on the pages: each is refused, and nothing is changed by it."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from kbsync.errors import BadConfiguration
from kbsync.pages.access import Access
from kbsync.pages.guard import LONGEST_BODY
from state.errors import NameTaken
from tests.support.reviewed import SCRIPT, Reviewed, reviewed
from tests.support.served_pages import bearer, served, token


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_a_form_of_another_site_is_refused(
    home: Reviewed, client: httpx.Client, headers: dict[str, str]
) -> None:
    anna = home.conflict("Anna")
    for address in (f"/quarantine/{anna.id}/approve", "/checkpoints/rollback", "/sync", "/sign-in"):
        answer = client.post(address, data={"reason": "x"}, headers=headers)
        assert answer.status_code == 403, address
    assert home.fact(anna.id) == anna


def test_a_form_of_this_site_is_taken(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    answer = client.post(f"/quarantine/{anna.id}/reject", data={"reason": "x"}, headers=own)
    assert answer.status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost@evil"])
def test_another_host_name_is_not_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"])
def test_without_authentication_nothing_is_answered_through_a_proxy(client: httpx.Client, name: str) -> None:
    assert client.get("/", headers={name: "10.0.0.1"}).status_code == 403


def test_every_answer_has_the_headers_that_protect_it(client: httpx.Client) -> None:
    for address in ("/", "/nothing", "/static/style.css", "/livez", "/facts.json"):
        headers = client.get(address).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"], address
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers
    assert client.get("/").headers["cache-control"] == "private, no-cache"
    assert client.get("/requests/1").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/application.py",
        "/static//etc/passwd",
        "/static/..%5c..%5capp.py",
        "/runs/..%2f..%2fkbsync.toml",
    ],
)
def test_no_path_leads_out_of_the_static_files(client: httpx.Client, path: str) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert int(answer.split()[1]) in (404, 422)
    assert b"import" not in answer
    assert b"root:" not in answer


def test_huge_and_strange_forms_are_refused(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    address = f"/quarantine/{anna.id}/reject"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    big = "reason=" + "x" * LONGEST_BODY
    assert client.post(address, content=big, headers=form).status_code == 413
    chunked = client.post(
        address, content=(part for part in [b"reason=", b"x" * LONGEST_BODY] * 2), headers=form
    )
    assert chunked.status_code == 413
    assert client.post(address, content="&".join(["a=1"] * 1000), headers=form).status_code == 422
    assert client.post(address, content=b"reason=%ff%fe", headers=form).status_code == 422
    assert client.post(address, content=b"reason=a%00b", headers=form).status_code == 422
    assert client.post(address, data={"reason": "x" * 3000}).status_code == 422
    assert client.post(address, json={"reason": "x"}).status_code == 415
    assert client.post(address, files={"reason": b"x"}).status_code == 415
    assert client.post(address, content=b"reason=a&reason=b", headers=form).status_code == 422
    assert client.post("/quarantine/decide", data={"word": "approve", "fact": "x:y"}).status_code == 422
    assert home.fact(anna.id) == anna


def test_elsewhere_nobody_is_served_without_authentication(home: Reviewed) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(BadConfiguration, match="without authentication"):
            Access.at(home.place.application(), host)
    token(home, "ended", days=-1)
    with pytest.raises(BadConfiguration, match="without authentication"):
        Access.at(home.place.application(), "0.0.0.0")


def test_a_token_is_needed_and_its_role_is_kept_to(home: Reviewed) -> None:
    anna = home.conflict("Anna")
    secrets = {role: token(home, role, role) for role in ("viewer", "reviewer", "operator")}  # type: ignore[arg-type]
    decision = {"reason": "no", "version": anna.version}
    with served(home) as client:
        for wrong in (
            {},
            bearer("kbsync_wrong"),
            {"Authorization": "Bearer"},
            {"Authorization": "Basic eDp5"},
        ):
            answer = client.get("/facts", headers=wrong)
            assert answer.status_code == 401
            assert "Anna" not in answer.text
        assert client.get("/", headers={"Accept": "text/html"}).headers["location"] == "/sign-in"
        assert client.get("/livez").status_code == 200
        for secret in secrets.values():
            assert client.get("/facts", headers=bearer(secret)).status_code == 200
        address = f"/quarantine/{anna.id}/reject"
        assert client.post(address, data=decision, headers=bearer(secrets["viewer"])).status_code == 403
        assert client.post("/sync", data={}, headers=bearer(secrets["reviewer"])).status_code == 403
        assert "Approve" not in client.get(f"/quarantine/{anna.id}", headers=bearer(secrets["viewer"])).text
        assert client.post(address, data=decision, headers=bearer(secrets["reviewer"])).status_code == 303
    with home.place.application().state.read() as tx:
        assert tx.events(kind="fact.rejected")[0].actor == "reviewer", "the token's name decides"


def test_a_revoked_or_ended_token_is_refused_at_once(home: Reviewed) -> None:
    secret, short = token(home, "ada"), token(home, "bob", hours=1)
    with served(home) as client:
        assert client.get("/", headers=bearer(secret)).status_code == 200
        signed = client.post("/sign-in", data={"token": secret})
        assert signed.status_code == 303
        cookie = signed.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/facts").status_code == 200, "the cookie is sent"
        with home.place.application().state.write() as tx:
            tx.revoke_token("ada", "left", "root")
        assert client.get("/facts").status_code == 401, "replayed after it was revoked"
        assert client.get("/facts", headers=bearer(secret)).status_code == 401
        assert client.post("/sign-in", data={"token": secret}).status_code == 401
        client.cookies.clear()
        assert client.get("/", headers=bearer(short)).status_code == 200
        home.place.clock.forward(hours=2)
        assert client.get("/", headers=bearer(short)).status_code == 401
    with pytest.raises(NameTaken):
        token(home, "ada")


def test_a_secret_is_nowhere_but_with_its_owner(home: Reviewed) -> None:
    secret = token(home, "ada", "operator")
    with served(home) as client:
        for address in ("/", "/audit", "/audit/events.jsonl", "/status.json", "/metrics", "/openapi.json"):
            assert secret not in client.get(address, headers=bearer(secret)).text
    home.place.application().close()
    for file in Path(home.place.root / "home").rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert secret.encode() not in file.read_bytes(), file


PROXIED = "[pages]\nproxies = ['{}']\nproxy_header = 'X-Forwarded-User'\nproxy_role = 'reviewer'\n"


@pytest.mark.parametrize(("proxies", "code"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 401)])
def test_only_a_trusted_proxy_names_the_user(tmp_path: Path, proxies: str, code: int) -> None:
    home = reviewed(tmp_path, PROXIED.format(proxies))
    with served(home, "127.0.0.1:0") as client:
        named = {"X-Forwarded-User": "ada@example.org", "X-Forwarded-For": "203.0.113.9"}
        assert client.get("/facts", headers=named).status_code == code
        assert client.get("/facts").status_code == 401, "the loopback interface is not open any more"
        assert client.get("/facts", headers={"X-Forwarded-User": ""}).status_code == 401
        twice = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "root")]
        assert client.get("/facts", headers=twice).status_code == 401
        anna = home.conflict("Anna")
        answer = client.post(f"/quarantine/{anna.id}/reject", data={"reason": "no"}, headers=named)
        assert answer.status_code == (303 if code == 200 else 401)


def test_on_the_loopback_interface_a_header_makes_nobody_of_you(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    spoofed = {"X-Forwarded-User": "the-boss", "X-Remote-User": "the-boss"}
    client.post(f"/quarantine/{anna.id}/reject", data={"reason": "no"}, headers=spoofed)
    with home.place.application().state.read() as tx:
        assert tx.events(kind="fact.rejected")[0].actor != "the-boss"


STRANGE = ("", "-1", str(2**63), "%00", "%ff", "é '; --", "٣", "\u202e")
"""Values that no page expects."""


@pytest.mark.slow
def test_no_strange_value_breaks_a_page(client: httpx.Client) -> None:
    """Every address and every field of the published description, with values that nobody expects."""
    described = client.get("/openapi.json").json()["paths"]
    broken = []
    for path, methods in described.items():
        for name in [one["name"] for one in methods.get("get", {}).get("parameters", [])]:
            for value in STRANGE:
                address = path.replace(f"{{{name}}}", value).replace("{id}", "1").replace("{word}", "approve")
                asked = address if f"{{{name}}}" in path else f"{address}?{name}={value}"
                answer = client.get(asked)
                if answer.status_code >= 500:
                    broken.append((asked, answer.status_code))
        for value in STRANGE if "post" in methods else ():
            address = path.replace("{id}", value).replace("{word}", "approve")
            fields = dict.fromkeys(
                ("reason", "version", "word", "fact", "to", "live", "prompt", "key"), value
            )
            answer = client.post(address, data=fields)
            if answer.status_code >= 500:
                broken.append((f"POST {address} {value!r}", answer.status_code))
    assert broken == []


def test_a_token_of_another_home_is_a_strangers(home: Reviewed, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = reviewed(tmp_path / "other")
    secret = token(other, "ada", "operator")
    token(home, "ada", "operator")  # of the same name
    with served(home) as client:
        assert client.get("/facts", headers=bearer(secret)).status_code == 401
        assert client.post("/sign-in", data={"token": secret}).status_code == 401
        assert client.get("/facts", headers={"Cookie": f"kbsync_token={secret}"}).status_code == 401
    other.place.application().close()


def test_a_script_in_a_label_runs_on_no_page(home: Reviewed, client: httpx.Client) -> None:
    """The subject's label, as the sources state it, a reason, a prompt and every filter are a script."""
    with home.place.application().state.read() as tx:
        (fact, *_) = [one for one in tx.facts() if one.subject_label == SCRIPT]
    client.post(f"/quarantine/{fact.id}/reject", data={"reason": SCRIPT})
    run = home.candidate("Q3", "Q30")
    client.post(f"/runs/{run.id}/reject", data={"reason": SCRIPT})
    client.post("/checkpoints/1/pin", data={"reason": SCRIPT})
    addresses = [
        *("/", "/runs", "/facts", "/quarantine", "/checkpoints", "/audit", "/ask", "/survey", "/sign-in"),
        *(f"/facts/{fact.id}", f"/quarantine/{fact.id}", f"/runs/{run.id}", "/checkpoints/compare?a=1&b=2"),
        *(
            f"/{name}?{field}={SCRIPT}"
            for name in ("facts", "runs", "quarantine", "audit")
            for field in ("subject", "kind", "relation", "source", "status", "code", "actor", "since")
        ),
        *(f"/ask?prompt={SCRIPT}", f"/{SCRIPT}", f"/facts/{SCRIPT}", "/feed.atom"),
    ]
    seen = 0
    for address in addresses:
        text = client.get(address).text
        assert "<script>" not in text.lower(), address
        seen += "&lt;script&gt;" in text
    assert seen >= 8, "it is shown, as text"


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"],
)
def test_a_spoofed_header_changes_no_address_and_no_method(home: Reviewed, name: str) -> None:
    secret = bearer(token(home, "ada", "viewer"))
    with served(home) as client:
        plain = client.get("/facts", headers=secret)
        for value in ("evil.example", "https", "/sync", "POST"):
            spoofed = client.get("/facts", headers={**secret, name: value})
            assert (spoofed.status_code, "evil.example" in spoofed.text) == (plain.status_code, False)


def test_headers_without_end_are_refused(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        try:
            raw.sendall(b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n")
            answer = raw.recv(4096)
        except OSError:
            pass  # it has hung up already
    assert answer == b"" or answer.split()[1] in (b"400", b"431")
