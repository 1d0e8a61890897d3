"""What a server or a program says can neither hurt the daemon, nor hold it, nor learn its secrets."""

from __future__ import annotations

import gzip
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from kbsync.deployment.connect import connect_hook
from kbsync.deployment.hooks import Call, Hook, HookFailed, Version
from kbsync.deployment.http import Server, object_of, require_ok
from kbsync.deployment.served import served
from kbsync.settings.deploy import AnyHookSettings, ExecSettings
from tests.support.ledgers import START
from tests.support.promoted import Place
from tests.support.stand_ins import Receiver, Sglang, StandIn, Vllm, listening

Listen = Callable[[StandIn], None]
KEY = "the key that signs"


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(listening(server)) and None


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    monkeypatch.setenv("OBSERVE_TOKEN", "only for reading")


def hook(**settings: object) -> Hook:
    table: AnyHookSettings = TypeAdapter(AnyHookSettings).validate_python(settings)
    return connect_hook(table, Call(20.0, threading.Event()), START.astimezone)


def webhook(server: StandIn, **more: object) -> Hook:
    return hook(
        kind="webhook",
        url=f"{server.url}/deployed",
        observe_url=f"{server.url}/version?of=live",
        token_env="HOOK_KEY",
        **more,
    )


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# Secrets


def test_the_signing_key_of_a_webhook_is_never_sent(listen: Listen) -> None:
    server = Receiver(secret=KEY)
    listen(server)
    one = webhook(server)
    one.deploy(Version("1-1@0", Path("/models/1-1"), "0"))
    assert one.observed_version() == "1-1@0", "a signed GET is answered"
    assert len(server.headers) == 2
    assert KEY not in str(server.headers)
    assert not any("authorization" in headers for headers in server.headers)


def test_a_webhook_that_is_asked_with_a_token_gets_one_of_its_own(listen: Listen) -> None:
    server = Receiver(secret=KEY)
    listen(server)
    assert webhook(server, observe_token_env="OBSERVE_TOKEN").observed_version() is None
    assert server.headers[0]["authorization"] == "Bearer only for reading"


@pytest.mark.parametrize(
    "more", [{"observe_token_env": "HOOK_KEY"}, {"observe_token_file": "/k", "token_file": "/k"}]
)
def test_the_signing_key_cannot_be_configured_as_a_bearer_token(more: dict[str, str]) -> None:
    key = {} if "token_file" in more else {"token_env": "HOOK_KEY"}
    with pytest.raises(ValidationError, match="the signing key is never sent"):
        hook(kind="webhook", url="http://a", observe_url="http://a", **key, **more)


def test_a_program_inherits_no_secret_of_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_STATE__URL", "postgresql://kbsync:password@db/kbsync")
    monkeypatch.setenv("WANTED", "for the program")
    dump = program(tmp_path / "dump", f"env > {tmp_path}/seen")
    hook(kind="exec", deploy=[dump], observe=["/bin/true"], environment=["WANTED"]).deploy(
        Version("1-1@0", tmp_path, "0")
    )
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert seen["WANTED"] == "for the program"
    assert seen["KBSYNC_VERSION"] == "1-1@0"
    assert seen["PATH"] == os.environ["PATH"]
    assert not {"KBSYNC_STATE__URL", "HOOK_KEY", "OBSERVE_TOKEN"} & seen.keys()


# Bounds


def test_of_a_flood_on_stderr_only_the_end_is_kept_and_memory_stays_flat(tmp_path: Path) -> None:
    flood = program(
        tmp_path / "flood", "head -c 300000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HookFailed, match=r"status 3: .*the end$") as failed:
        hook(kind="exec", deploy=[flood], observe=["/bin/true"]).deploy(Version("1", tmp_path, "0"))
    assert len(str(failed.value)) < 1_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10, "KiB"


def test_a_background_process_that_keeps_the_pipes_open_holds_nobody(tmp_path: Path) -> None:
    background = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo x; touch {tmp_path}/alive"
    starts = program(tmp_path / "starts", f"({background}) & echo 7")
    table = {"kind": "exec", "deploy": ["/bin/true"], "observe": [starts]}
    settings = TypeAdapter(AnyHookSettings).validate_python(table)
    assert isinstance(settings, ExecSettings)
    observed = connect_hook(settings, Call(60.0, threading.Event()), START.astimezone).observed_version()
    assert observed == "7"
    (tmp_path / "go").touch()  # what it writes now neither blocks it nor kills it
    waited = threading.Event()
    for _ in range(600):
        if (tmp_path / "alive").exists():
            break
        waited.wait(0.1)
    assert (tmp_path / "alive").exists()


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "zstd"])
def test_an_encoded_answer_is_refused_before_it_is_unpacked(encoding: str) -> None:
    bomb = gzip.compress(gzip.compress(bytes(10 << 20)))
    with listening(Sglang(content_encoding=encoding, faults={"/model_info": [(200, bomb)]})) as server:
        client = Server(server.url, None, 5.0)
        with pytest.raises(HookFailed, match="encoded as"):
            client.get("/model_info")


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize("server", [Vllm(), Sglang()], ids=["vllm", "sglang"])
def test_an_answer_nested_without_end_fails_its_row_and_other_hooks_are_served(
    tmp_path: Path, listen: Listen, server: StandIn
) -> None:
    good = Sglang()
    listen(server)
    listen(good)
    kind = type(server).__name__.lower()
    place = Place(
        tmp_path,
        f"[deploy.bad]\nkind = '{kind}'\nurl = '{server.url}'\nsettle = 0\n"
        f"[deploy.good]\nkind = 'sglang'\nurl = '{good.url}'\nsettle = 0\n",
    )
    for path in ("/weight_info", "/model_info", "/update_weights_from_disk", "/v1/models"):
        server.faults[path] = [(200, DEEP)] * 5
    place.promoted(Q1="Q10")
    rows = {row.hook: row for row in place.read()[1]}
    assert rows["bad"].state == "failed"
    assert "HTTP 200: [[[[" in rows["bad"].detail
    assert rows["good"].state == "deployed"


def test_an_error_that_no_hook_declares_fails_its_row_and_other_hooks_are_served(
    tmp_path: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Sglang(), Vllm()
    listen(one)
    listen(other)
    place = Place(
        tmp_path,
        f"[deploy.a]\nkind = 'sglang'\nurl = '{one.url}'\n[deploy.b]\nkind = 'vllm'\nurl = '{other.url}'\n",
    )

    def broken(*_: object) -> None:
        raise LookupError("nobody thought of this\x1b[2J")

    monkeypatch.setattr("kbsync.deployment.sglang.SglangHook.deploy", broken)
    place.promoted(Q1="Q10")
    rows = {row.hook: row for row in place.read()[1]}
    assert (rows["a"].state, rows["b"].state) == ("failed", "deployed")
    assert rows["a"].detail.startswith("unexpected LookupError: nobody thought of this\\u001b")


# What a server calls its version


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b"3-1@9f86d081884c\n", "3-1@9f86d081884c"),
        (b'"3-1@9f86d081884c"', "3-1@9f86d081884c"),
        (b'\xef\xbb\xbf{"version": "3-1"}', "3-1"),
        (b'\xef\xbb\xbf"3-1"', "3-1"),
        (b"null", None),
        (b'{"version": null}', None),
        (b"", None),
        (b"12", "12"),
        (b'{"version": 5}', "5"),
        (b'{"version": 1.10}', "1.10"),
        (b"9" * 100, "9" * 100),
        (b"3-1 \xe9", "3-1 \ufffd"),
    ],
)
def test_a_webhook_may_name_its_version_in_any_of_these_ways(
    listen: Listen, body: bytes, version: str | None
) -> None:
    server = Receiver(secret=KEY)
    listen(server)
    server.faults["/version"] = [(200, body)]
    assert webhook(server).observed_version() == version


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"true",
        b'{"version": false}',
        b'{"version": NaN}',
        b"9" * 5_000,
        b"{}",
        b'{"version": ["a"]}',
        b'"\\ud800"',
        b'"a\\u0000b"',
        b"x" * 300,
        b"a\x1b[2Jb",
        DEEP,
    ],
)
def test_what_can_be_no_version_is_a_failure(listen: Listen, body: bytes) -> None:
    server = Receiver(secret=KEY)
    listen(server)
    server.faults["/version"] = [(200, body)]
    with pytest.raises(HookFailed):
        webhook(server).observed_version()


def test_a_redirect_is_not_followed_and_its_target_is_named(listen: Listen) -> None:
    secret, server = Receiver(), Receiver(secret=KEY)
    listen(secret)
    listen(server)
    server.redirects = {"/version": f"{secret.url}/version", "/deployed": f"{secret.url}/deployed"}
    one = webhook(server)
    with pytest.raises(HookFailed, match=f"HTTP 302 to {secret.url}/version"):
        one.observed_version()
    with pytest.raises(HookFailed, match=f"HTTP 302 to {secret.url}/deployed"):
        one.deploy(Version("1-1@0", Path("/models/1-1"), "0"))
    assert secret.requests == []


@contextmanager
def raw(answer: bytes) -> Iterator[str]:
    """The URL of a server that sends these bytes to one request."""

    def once(server: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=once, args=(server,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "location", [b"http://h/\xe9", "http://h/\u202e".encode(), b"http://[::1", b"", b"a" * 50_000]
)
def test_a_redirect_to_an_odd_place_is_a_failure_like_any_other(location: bytes) -> None:
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    with raw(answer) as url, pytest.raises(HookFailed, match=r"HTTP 302 to|location header") as failed:
        require_ok(Server(url, None, 20.0).get("/version"))
    assert str(failed.value).isprintable()


def test_a_model_name_that_is_no_text_is_sent_back_as_it_came(listen: Listen) -> None:
    server = Sglang()
    listen(server)
    answer = Server(server.url, None, 5.0).post(
        "/v1/completions", json={"model": "\ud800", "prompt": "", "temperature": 0}
    )
    assert answer.status_code == 404
    with pytest.raises(HookFailed):
        require_ok(answer)
    with pytest.raises(HookFailed):
        object_of(answer)


# vLLM resumes where no weight was touched


UNTOUCHED = {
    "no such request": (404, {"detail": "Not Found"}),
    "an older signature": (
        500,
        {"error": "reload_weights() got an unexpected keyword argument 'weights_path'"},
    ),
}


@pytest.mark.parametrize("answer", UNTOUCHED.values(), ids=UNTOUCHED.keys())
def test_a_reload_that_cannot_have_begun_leaves_the_server_serving(
    tmp_path: Path, listen: Listen, answer: tuple[int, object]
) -> None:
    server = Vllm()
    listen(server)
    server.faults["/collective_rpc"] = [answer]
    place = Place(tmp_path, f"[deploy.prod]\nkind = 'vllm'\nurl = '{server.url}'\nsettle = 0\n")
    place.promoted(Q1="Q10")
    assert place.last.state == "failed"
    assert "no weight was touched" in place.last.detail
    assert (server.paused, server.version) == (False, "default")


def test_a_path_that_the_server_does_not_see_leaves_it_serving(tmp_path: Path, listen: Listen) -> None:
    server = Vllm(mount=("/models", str(tmp_path / "not" / "there")))
    listen(server)
    home = tmp_path / "home" / "checkpoints"
    table = f"[deploy.prod]\nkind = 'vllm'\nurl = '{server.url}'\nsettle = 0\npaths = {{ '{home}' = '/models' }}\n"
    place = Place(tmp_path, table)
    server.faults["/collective_rpc"] = [(500, {"error": "No such file or directory: '/models/1-1'"})]
    place.promoted(Q1="Q10")
    assert not server.paused
    assert "map it with `paths`" not in place.last.detail, "advice is for the reader of the command"
    server.faults["/collective_rpc"] = [
        (500, {"error": "No such file or directory: '/models/1-1/2.safetensors'"})
    ]
    place.later(minutes=2)
    assert server.paused, "a second shard may be missing after the first was loaded"


def test_a_server_that_lists_its_requests_is_not_paused_for_one_that_it_lacks(
    tmp_path: Path, listen: Listen
) -> None:
    server = Vllm()
    listen(server)
    server.faults["/openapi.json"] = [(200, {"paths": {"/pause": {}, "/resume": {}}})]
    place = Place(tmp_path, f"[deploy.prod]\nkind = 'vllm'\nurl = '{server.url}'\nsettle = 0\n")
    place.promoted(Q1="Q10")
    assert "has no /collective_rpc, /reset_prefix_cache" in place.last.detail
    assert [path for method, path, _ in server.requests if method == "POST"] == []


def test_attempts_that_are_spent_are_loud(
    tmp_path: Path, listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    server = Vllm()
    listen(server)
    server.faults["/collective_rpc"] = [(500, {"error": "no"})] * 2
    place = Place(tmp_path, f"[deploy.prod]\nkind = 'vllm'\nurl = '{server.url}'\nattempts = 2\nsettle = 0\n")
    place.promoted(Q1="Q10")
    capfd.readouterr()
    place.later(minutes=2)
    assert "deploy.attempts_spent" in "".join(capfd.readouterr())
    (_, one) = served(place.application())
    assert "GIVEN UP after 2 attempts" in str(one)
