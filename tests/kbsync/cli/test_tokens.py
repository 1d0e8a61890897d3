"""`kbsync tokens` and `kbsync serve`, as typed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kbsync.home import Home
from tests.support.paths import REPOSITORY
from tests.support.reviewed import reviewed
from tests.support.shell import Shell


def test_tokens_are_created_listed_and_revoked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = reviewed(tmp_path)
    kbsync = Shell(Home(tmp_path / "home"), capfd)
    code, secret, notes = kbsync("tokens", "create", "ada", "--role", "reviewer", "--days", "30")
    assert code == 0, notes
    assert re.fullmatch(r"kbsync_[\w-]{43}", secret.strip()), secret
    assert secret.strip() not in notes
    (listed,) = kbsync.json("tokens", "list")
    assert (listed["name"], listed["role"], listed["revoked"]) == ("ada", "reviewer", None)
    assert kbsync("tokens", "create", "ada")[0] == 2, "names are not given twice"
    assert kbsync("tokens", "create", "bob", "--role", "king")[0] == 2
    assert kbsync("tokens", "revoke", "ada")[0] == 2, "a reason is needed"
    assert kbsync("tokens", "revoke", "ada", "--reason", "left")[0] == 0
    assert kbsync("tokens", "revoke", "eve", "--reason", "left")[0] == 2
    assert "ada" in kbsync("tokens")[1]
    with home.place.application().state.read() as tx:
        assert [event.kind for event in tx.events(kind="token.*")] == ["token.created", "token.revoked"]
    code, _, notes = kbsync("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 78
    assert "without authentication" in notes


def test_serve_says_where_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    home = reviewed(tmp_path)
    home.place.application().close()
    serving = subprocess.Popen(
        [sys.executable, "-m", "kbsync", "serve", "--home", str(tmp_path / "home"), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert serving.stderr is not None
        line = next(line for line in serving.stderr if "http://" in line)
        address = re.search(r"http://[\d.:]+", line)
        assert address is not None
        assert httpx.get(address[0], timeout=60).status_code == 200
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=60) == 0


def test_the_daemon_serves_the_pages_beside_its_work(tmp_path: Path) -> None:
    home = reviewed(tmp_path)
    home.place.application().close()
    config = tmp_path / "home" / "kbsync.toml"
    text = config.read_text(encoding="utf-8").replace("level = 'error'", "level = 'info'\nformat = 'json'")
    config.write_text(f"{text}\n[pages]\nlisten = '127.0.0.1:0'\n", encoding="utf-8")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "kbsync", "--home", str(tmp_path / "home"), "run"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert daemon.stderr is not None
        line = next(line for line in daemon.stderr if "pages.listening" in line)
        address = json.loads(line)["address"]
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.get("/livez").text == "ok\n"
            assert "Checkpoint 2" in client.get("/").text
            asked = client.post("/checkpoints/rollback", data={"to": "1", "reason": "try"})
            assert asked.status_code == 303
            request = asked.headers["location"]
            for line in daemon.stderr:
                if '"request.done"' in line or "request.refused" in line:
                    break
            assert client.get(f"{request}.json").json()["asked"]["state"] == "done"
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=120)
    assert daemon.returncode == 0
