"""`kbsync doctor` and `config check --online`: what works, what does not, what to do, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from kbsync.cli import main
from kbsync.queries import doctor
from tests.support.micro import Micro, make
from tests.support.obedient_server import ObedientServer, answer
from tests.support.object_store import BUCKET, s3
from tests.support.sparql_server import AGENT, free_port

HOOK = "[deploy.web]\nkind = 'exec'\ndeploy = ['{0}']\nrollback = ['{0}']\nobserve = ['{0}']\n"


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """One home with a live checkpoint; those who break something copy it."""
    micro = make(tmp_path_factory.mktemp("doctor"))
    micro.say({"Blue House": "Anna"})
    micro.sync()
    return micro


@pytest.fixture
def micro(synced: Micro, tmp_path: Path) -> Micro:
    shutil.copytree(synced.root, tmp_path, symlinks=True, dirs_exist_ok=True)
    copy = Micro(tmp_path, synced.now)
    text = copy.home.config.read_text(encoding="utf-8")
    copy.home.config.write_text(text.replace(str(synced.root), str(tmp_path)), encoding="utf-8")
    return copy


@pytest.fixture
def server() -> Iterator[ObedientServer]:
    found = ObedientServer()
    yield found
    found.close()


def kbsync(micro: Micro, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--home", str(micro.home.root)])
    return int(ended.value.code or 0)


def examined(micro: Micro, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the findings by what was looked at."""
    capsys.readouterr()
    code = kbsync(micro, "doctor", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["exit"] == code
    return code, {one["what"]: one for one in found["findings"]}


def add(micro: Micro, text: str) -> None:
    with micro.home.config.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{text}\n")


def add_sparql(micro: Micro, url: str) -> None:
    query = "SELECT ?subject ?object WHERE { ?subject ?p ?object }"
    add(
        micro,
        f"[sources.kg]\nkind = 'sparql'\nendpoint = '{url}'\nagent = '{AGENT}'\nquery = '{query}'\n"
        "relation = 'crm:owner'\nattempts = 1\n",
    )


def test_where_all_is_well_everything_is_ok_and_nothing_is_written(
    micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in micro.home.root.rglob("*") if path.is_file()}
    code, found = examined(micro, capsys)
    assert code == 0
    assert {one["verdict"] for one in found.values()} == {"ok"}
    assert {"settings", "home", "disk", "base", "ledger", "live", "source crm"} <= set(found)
    after = {path: path.stat().st_mtime_ns for path in micro.home.root.rglob("*") if path.is_file()}
    assert {path for path in after if "kbsync.db-" not in path.name} == {
        path for path in before if "kbsync.db-" not in path.name
    }
    assert kbsync(micro, "doctor") == 0
    assert "source crm" in capsys.readouterr().out


def test_a_new_home_is_well_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    code, found = examined(micro, capsys)
    assert code == 0
    assert found["ledger"]["advice"] == "`kbsync sync` makes it"
    assert not micro.home.database.exists()


def test_an_endpoint_that_nobody_answers_is_not_now(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    add_sparql(micro, f"http://127.0.0.1:{free_port()}/sparql")
    code, found = examined(micro, capsys)
    assert (code, found["source kg"]["verdict"]) == (75, "later")
    assert "cannot be reached" in found["source kg"]["detail"]
    assert found["source crm"]["verdict"] == "ok", "the others are asked all the same"
    assert kbsync(micro, "config", "check") == 0
    assert kbsync(micro, "config", "check", "--online") == 75


@pytest.mark.parametrize(
    ("status", "headers", "named"),
    [
        (401, {}, "HTTP 401"),
        (404, {}, "HTTP 404"),
        (302, {"Location": "http://evil.example/"}, "evil.example"),
    ],
)
def test_an_endpoint_that_declines_needs_somebody(
    micro: Micro,
    server: ObedientServer,
    capsys: pytest.CaptureFixture[str],
    status: int,
    headers: dict[str, str],
    named: str,
) -> None:
    server.handle = answer(status, b"no", **headers)
    add_sparql(micro, server.url)
    code, found = examined(micro, capsys)
    assert (code, found["source kg"]["verdict"]) == (78, "wrong")
    assert named in found["source kg"]["detail"]
    assert "docs/connectors.md" in found["source kg"]["advice"]
    assert kbsync(micro, "config", "check", "--online", "--json") == 78
    (kg,) = [one for one in json.loads(capsys.readouterr().out)["sources"] if one["what"] == "source kg"]
    assert named in kg["detail"]


def test_a_connector_that_raises_anything_is_shown_and_the_others_are_asked(
    micro: Micro, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: object) -> None:
        raise RecursionError("\x1b]0;owned\x07")

    monkeypatch.setattr("connectors.files.FilesConnector.check", check)
    code, found = examined(micro, capsys)
    assert (code, found["source crm"]["verdict"]) == (75, "later")
    assert "RecursionError" in found["source crm"]["detail"]
    assert "\x1b" not in found["source crm"]["detail"]


def test_settings_that_cannot_work_are_named(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    add(micro, "[sources.kg]\nkind = 'sparql'\nendpoint = 'http://u:p@127.0.0.1/'\nagent = 'x'\nquery = ''")
    code, found = examined(micro, capsys)
    assert code == 78
    assert "user` and `password" in found["settings: [sources.kg]"]["what"] + str(found)
    assert "u:p@" not in str(found)


def test_a_ledger_that_cannot_be_read_is_named(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    micro.home.database.write_bytes(b"this is no database" * 1_000)
    for journal in micro.home.root.glob("kbsync.db-*"):
        journal.unlink()
    code, found = examined(micro, capsys)
    assert (code, found["ledger"]["verdict"]) == (78, "wrong")
    assert found["ledger"]["advice"]


def test_a_live_link_that_leads_elsewhere_is_named(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    micro.home.live.unlink()
    os.symlink("nowhere", micro.home.live)
    code, found = examined(micro, capsys)
    assert (code, found["live"]["verdict"]) == (78, "wrong")
    assert "leads to nothing" in found["live"]["detail"]


def test_a_base_with_a_missing_file_is_named(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    imported = micro.application().imported_base()
    assert imported is not None
    (micro.home.base / imported.digest / "editable.safetensors").unlink()
    code, found = examined(micro, capsys)
    assert (code, found["base"]["verdict"]) == (78, "wrong")
    assert "editable.safetensors" in found["base"]["detail"]


def test_too_little_disk_is_said_with_what_is_needed(
    micro: Micro, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=5))
    code, found = examined(micro, capsys)
    assert (code, found["disk"]["verdict"]) == (75, "later")
    assert "1.0 GiB" in found["disk"]["detail"]


def test_a_deploy_hook_is_asked_what_it_serves(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    program = micro.root / "hook"
    program.write_text("#!/bin/sh\necho 1-1@abc\n")
    program.chmod(0o755)
    add(micro, HOOK.format(program))
    code, found = examined(micro, capsys)
    assert (code, found["deploy hook web"]["verdict"]) == (0, "ok")
    assert "1-1@abc" in found["deploy hook web"]["detail"]
    program.write_text("#!/bin/sh\necho the server is down >&2\nexit 1\n")
    code, found = examined(micro, capsys)
    assert (code, found["deploy hook web"]["verdict"]) == (75, "later")
    assert "the server is down" in found["deploy hook web"]["detail"]
    assert found["deploy hook web"]["advice"]


def test_the_object_store_of_builds_is_written_and_read(
    micro: Micro, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3.log") as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        what = f"object store {store.url}"
        text = micro.home.config.read_text(encoding="utf-8")
        storage = f'\n[executor.ray]\nstorage = "{store.url}"\n'
        micro.home.config.write_text(
            text.replace("[executor]", '[executor]\nkind = "ray"') + storage, encoding="utf-8"
        )
        code, found = examined(micro, capsys)
        assert code == 0
        assert found[what]["verdict"] == "ok"
        httpx.delete(f"{store.endpoint}/{BUCKET}").raise_for_status()
        code, found = examined(micro, capsys)
    assert code == 75
    assert "check that the bucket exists" in found[what]["detail"]
