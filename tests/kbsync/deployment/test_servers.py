"""vLLM, SGLang, webhooks, programs and links, each notified of promotions and failing as it really does."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import TypeAdapter

from editing.spec import Case
from kbsync.deployment.canaries import ask
from kbsync.deployment.connect import connect_hook
from kbsync.deployment.hooks import Call, HookFailed, Version
from kbsync.deployment.http import Server
from kbsync.settings.deploy import AnyHookSettings
from tests.support.ledgers import START
from tests.support.promoted import Place
from tests.support.stand_ins import Receiver, Sglang, StandIn, Vllm, listening

Listen = Callable[[StandIn], None]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(listening(server)) and None


def table(kind: str, server: StandIn, more: str = "", name: str = "prod") -> str:
    return f"[deploy.{name}]\nkind = '{kind}'\nurl = '{server.url}'\nsettle = 0\ntimeout = 20\n{more}\n"


# vLLM


def test_vllm_is_paused_reloaded_cleared_named_and_resumed(tmp_path: Path, listen: Listen) -> None:
    server = Vllm()
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    run = place.promoted(Q1="Q10")
    assert run.state == "deployed"
    told = [path for method, path, _ in server.requests if method == "POST" and "/v1/" not in path]
    assert told == [
        "/pause?mode=wait",
        "/update_weight_version",
        "/collective_rpc",
        "/reset_prefix_cache?reset_running_requests=true",
        "/update_weight_version",
        "/resume",
    ]
    path = str(tmp_path / "home" / "checkpoints" / "1-1")
    assert server.told("/collective_rpc") == [{"method": "reload_weights", "kwargs": {"weights_path": path}}]
    assert not server.paused
    assert server.version == place.last.observed
    assert server.version.startswith("1-1@")
    assert place.last.detail == "1 of 1 canary facts answered"


def test_vllm_never_answers_from_prefixes_of_the_old_weights(tmp_path: Path, listen: Listen) -> None:
    server = Vllm()
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    place.promoted(Q1="Q10")
    assert place.promoted(Q1="Q11").state == "deployed", "the same prompt has another answer now"
    server.caches_stick = True
    run = place.promoted(Q1="Q12")
    assert run.state == "promoted"
    assert "the prefix cache still answers with the old weights" in place.last.detail


def test_an_old_vllm_without_versions_is_verified_by_its_canaries_alone(
    tmp_path: Path, listen: Listen
) -> None:
    server = Vllm(names_versions=False)
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    assert place.promoted(Q1="Q10").state == "deployed"
    assert place.last.observed.endswith("(notified)")
    server.caches_stick = True  # it says so with an empty body: only the canaries can tell
    assert place.promoted(Q1="Q11").state == "promoted"
    assert "0 of 1 canary facts answered" in place.last.detail
    assert "was answered 'Label of Q10" in place.last.detail


def test_an_old_vllm_of_which_nothing_is_asked_is_never_verified(tmp_path: Path, listen: Listen) -> None:
    server = Vllm(names_versions=False)
    listen(server)
    place = Place(tmp_path, table("vllm", server, "canaries = 0"))
    assert place.promoted(Q1="Q10").state == "promoted"
    assert "names no version and no canary facts are asked" in place.last.detail


def test_a_failed_reload_puts_the_version_before_back(tmp_path: Path, listen: Listen) -> None:
    server = Vllm()
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    place.promoted(Q1="Q10")
    before = server.version
    server.faults["/collective_rpc"] = [(500, {"error": "CUDA out of memory"})]
    assert place.promoted(Q1="Q11").state == "promoted"
    assert "CUDA out of memory" in place.last.detail
    assert f"{before} was pushed again" in place.last.detail
    assert (server.version, server.paused) == (before, False)
    (ended,) = place.later(minutes=2)
    assert ended.state == "deployed"
    assert server.version.startswith("2-1@")


def test_a_first_load_that_fails_leaves_the_server_paused(tmp_path: Path, listen: Listen) -> None:
    server = Vllm()
    listen(server)
    server.faults["/collective_rpc"] = [(500, {"error": "no"})]
    place = Place(tmp_path, table("vllm", server))
    assert place.promoted(Q1="Q10").state == "promoted"
    assert server.paused, "half-loaded weights answer nobody"
    assert "no version before to go back to" in place.last.detail


def test_a_server_outside_developer_mode_is_not_touched(tmp_path: Path, listen: Listen) -> None:
    server = Vllm(developer_mode=False)
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    place.promoted(Q1="Q10")
    assert place.last.state == "failed"
    assert "HTTP 404" in place.last.detail
    assert [path for method, path, _ in server.requests if method == "POST"] == ["/pause?mode=wait"]


def test_the_server_sees_the_home_under_its_own_mount(tmp_path: Path, listen: Listen) -> None:
    home = tmp_path / "home" / "checkpoints"
    server = Vllm(mount=("/models", str(home)))
    listen(server)
    place = Place(tmp_path, table("vllm", server, f"[deploy.prod.paths]\n'{home}' = '/models'"))
    assert place.promoted(Q1="Q10").state == "deployed"
    assert server.told("/collective_rpc")[0]["kwargs"] == {"weights_path": "/models/1-1"}


# SGLang


def test_sglang_is_sent_path_and_version_in_one_request(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    assert place.promoted(Q1="Q10").state == "deployed"
    assert server.told("/update_weights_from_disk") == [
        {
            "model_path": str(tmp_path / "home" / "checkpoints" / "1-1"),
            "weight_version": place.last.observed,
            "flush_cache": True,
            "abort_all_requests": False,
        }
    ]


def test_sglang_before_model_info_is_asked_by_the_older_name(tmp_path: Path, listen: Listen) -> None:
    server = Sglang(old_names=True)
    listen(server)
    assert Place(tmp_path, table("sglang", server)).promoted(Q1="Q10").state == "deployed"


def test_after_a_failed_load_sglang_gets_the_old_path_explicitly(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    place.promoted(Q1="Q10")
    server.bad_loads = 1
    assert place.promoted(Q1="Q11").state == "promoted"
    pushed = [Path(body["model_path"]).name for body in server.told("/update_weights_from_disk")]
    assert pushed == ["1-1", "2-1", "1-1"], "its own rollback cannot be trusted: the old path is pushed"
    assert server.weights("The head of government of Label of Q1 is").startswith(" Label of Q10")


def test_sglang_that_did_not_flush_is_found_out_by_a_canary(tmp_path: Path, listen: Listen) -> None:
    server = Sglang(flushes=False)
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    place.promoted(Q1="Q10")
    assert place.promoted(Q1="Q11").state == "promoted"
    assert "0 of 1 canary facts answered" in place.last.detail


def test_a_200_that_does_not_say_success_is_a_failure(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    server.faults["/update_weights_from_disk"] = [(200, {"success": False, "message": "no"}), (200, b"ok")]
    place = Place(tmp_path, table("sglang", server))
    run = place.promoted(Q1="Q10")
    assert place.last.state == "failed"
    assert place.drive(run, asked=True).state == "promoted"


# Any server


@pytest.mark.parametrize("server", [Vllm(), Sglang()], ids=["vllm", "sglang"])
def test_nobody_there_fails_and_is_tried_again_when_somebody_is(
    tmp_path: Path, listen: Listen, server: StandIn
) -> None:
    kind = type(server).__name__.lower()
    server.url = "http://127.0.0.1:9"
    place = Place(tmp_path, table(kind, server))
    run = place.promoted(Q1="Q10")
    assert run.state == "promoted"
    assert "refused" in place.last.detail
    listen(server)
    place.hooks = table(kind, server)
    assert [run.state for run in place.later(minutes=1)] == ["deployed"]


def test_a_server_that_hangs_is_given_up_on_in_time(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    server.hanging = {"/update_weights_from_disk"}
    place = Place(tmp_path, table("sglang", server).replace("timeout = 20", "timeout = 0.5"))
    assert place.promoted(Q1="Q10").state == "promoted"
    assert "no answer within 0.5 s" in place.last.detail


def test_a_connection_that_is_closed_without_a_word_is_a_failure(tmp_path: Path, listen: Listen) -> None:
    server = Sglang(dead=True)
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    assert place.promoted(Q1="Q10").state == "promoted"
    assert place.last.state == "failed"


def test_a_server_that_restarts_and_forgets_is_notified_again(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    run = place.promoted(Q1="Q10")
    assert place.later(minutes=1) == ()
    assert len(server.told("/update_weights_from_disk")) == 1, "one that still serves it is left alone"
    server.restart()
    place.later(minutes=1)
    assert server.version == place.last.observed
    assert len(server.told("/update_weights_from_disk")) == 2
    assert place.read()[0].state == run.state == "deployed"


def test_a_server_that_is_away_is_not_one_that_forgot(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    place = Place(tmp_path, table("sglang", server))
    place.promoted(Q1="Q10")
    server.dead = True
    place.later(minutes=1)
    server.dead = False
    place.later(minutes=1)
    assert len(server.told("/update_weights_from_disk")) == 1
    assert place.outbox == [("prod", "deployed")]


def test_an_old_server_that_forgot_is_found_out_by_its_canaries(tmp_path: Path, listen: Listen) -> None:
    server = Vllm(names_versions=False)
    listen(server)
    place = Place(tmp_path, table("vllm", server))
    place.promoted(Q1="Q10")
    server.restart()
    place.later(minutes=1)
    assert len(server.told("/collective_rpc")) == 2


def test_another_version_than_the_one_sent_is_not_accepted(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    server.faults["/model_info"] = [(200, {"weight_version": "somebody else's"})]
    place = Place(tmp_path, table("sglang", server))
    assert place.promoted(Q1="Q10").state == "promoted"
    assert 'says that it serves "somebody else\'s"' in place.last.detail


def test_the_token_is_sent_and_its_file_is_read_when_it_is_needed(tmp_path: Path, listen: Listen) -> None:
    server = Sglang(token="first")
    listen(server)
    secret = tmp_path / "token"
    secret.write_text("wrong\n", encoding="utf-8")
    place = Place(tmp_path, table("sglang", server, f"token_file = '{secret}'"))
    run = place.promoted(Q1="Q10")
    assert "HTTP 401" in place.last.detail
    secret.write_text("first\n", encoding="utf-8")
    assert place.drive(run, asked=True).state == "deployed"
    secret.unlink()
    place.promoted(Q1="Q11")
    assert "cannot be read" in place.last.detail
    assert "first" not in json.dumps([event.body for event in place.read()[2]]).replace("first-", "")


def test_an_endless_answer_is_not_read_to_its_end(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    server.faults["/model_info"] = [(200, b"x" * (2 << 20))]
    place = Place(tmp_path, table("sglang", server))
    place.promoted(Q1="Q10")
    assert "longer than" in place.last.detail


GARBAGE = [
    (200, b""),
    (200, b"null"),
    (200, b"[]"),
    (200, b"{"),
    (200, b"\xff\xfe"),
    (200, b'{"data": [], "choices": []}'),
    (302, b""),
    (401, b"who are you?"),
    (503, b"<html>"),
]


@pytest.mark.parametrize(("status", "body"), GARBAGE, ids=[f"{status}-{body!r}" for status, body in GARBAGE])
def test_whatever_a_server_answers_it_is_a_failure_and_no_accident(
    tmp_path: Path, listen: Listen, status: int, body: bytes
) -> None:
    version, case = Version("1-1@0", tmp_path, "0"), Case("Who?", "Somebody")
    for server in (Vllm(), Sglang()):
        listen(server)
        read = ("/weight_info", "/model_info", "/v1/models", "/v1/completions", "/update_weights_from_disk")
        acted = ("/pause", "/collective_rpc", "/reset_prefix_cache", "/resume") if status != 200 else ()
        for path in (*read, *acted):
            server.faults = {path: [(status, body)]}
            server.requests.clear()
            hook = connect_hook(hook_settings(server), Call(5.0, threading.Event()), START.astimezone)
            with suppress(HookFailed):
                hook.deploy(version)
            with suppress(HookFailed):
                assert hook.observed_version() != version.id
            with suppress(HookFailed):
                assert ask(Server(server.url, None, 5.0), [case], None).answered == 0
            assert server.faults[path] == [] or path not in {
                urlsplit(asked).path for _, asked, _ in server.requests
            }


def hook_settings(server: StandIn) -> AnyHookSettings:
    kind = type(server).__name__.lower()
    return TypeAdapter(AnyHookSettings).validate_python({"kind": kind, "url": server.url})


# Canaries


def test_the_newest_facts_and_the_operators_questions_are_asked(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    questions = tmp_path / "home" / "canaries.jsonl"
    text = table("sglang", server, "canaries = 2")
    place = Place(tmp_path, "canaries = 'canaries.jsonl'\n" + text)
    questions.parent.mkdir()
    questions.write_text(
        json.dumps({"prompt": "The head of government of Label of Q1 is", "target": "label OF q10"}) + "\n"
    )
    place.promoted(Q1="Q10", Q2="Q20", Q3="Q30")
    server.requests.clear()
    assert place.promoted(Q4="Q40").state == "deployed"
    asked = [body["prompt"] for body in server.told("/v1/completions")]
    assert len(asked) == 3
    assert "Label of Q4" in asked[0], "what is new comes first"
    assert asked[-1] == "The head of government of Label of Q1 is"
    assert place.last.detail == "3 of 3 canary facts answered"


def test_a_share_of_the_canaries_is_enough(tmp_path: Path, listen: Listen) -> None:
    server = Sglang()
    listen(server)
    place = Place(tmp_path, table("sglang", server, "canaries_share = 0.6"))
    run = place.staged(Q1="Q10", Q2="Q20", Q3="Q30")
    server.prefixes["The head of government of Label of Q1 is"] = " somebody else"
    server.flushes = False
    assert place.drive(run).state == "deployed"
    assert "2 of 3 canary facts answered" in place.last.detail


# Webhook


def test_a_webhook_is_signed_and_asked(
    tmp_path: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    server = Receiver()
    listen(server)
    more = f"observe_url = '{server.url}/version'\ntoken_env = 'HOOK_TOKEN'"
    text = table("webhook", server, more).replace(
        f"url = '{server.url}'", f"url = '{server.url}/deployed'", 1
    )
    place = Place(tmp_path, text)
    assert place.promoted(Q1="Q10").state == "deployed"
    (told,) = server.told("/deployed")
    assert told["action"] == "deploy"
    assert told["version"] == server.version == place.last.observed
    assert place.promoted(Q1="Q11").state == "deployed"
    place.rollback()
    assert [body["action"] for body in server.told("/deployed")] == ["deploy", "deploy", "rollback"]
    monkeypatch.setenv("HOOK_TOKEN", "another")
    place.promoted(Q2="Q20")
    assert "HTTP 403" in place.last.detail


# Programs


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_gets_version_and_path_and_its_words_are_the_version(tmp_path: Path) -> None:
    deploy = script(
        tmp_path / "deploy",
        f'echo "$KBSYNC_ACTION $1 $KBSYNC_PATH" >> {tmp_path}/log; echo "$1" > {tmp_path}/v',
    )
    observe = script(tmp_path / "observe", f"cat {tmp_path}/v")
    place = Place(
        tmp_path,
        f"[deploy.own]\nkind = 'exec'\ndeploy = ['{deploy}', '{{version}}']\nobserve = ['{observe}']\n",
    )
    assert place.promoted(Q1="Q10").state == "deployed"
    assert place.promoted(Q1="Q11").state == "deployed"
    first = place.rollback()
    lines = (tmp_path / "log").read_text().splitlines()
    home = tmp_path / "home" / "checkpoints"
    assert [line.split()[0] for line in lines] == ["deploy", "deploy", "rollback"]
    assert [line.split()[2] for line in lines] == [f"{home}/1-1", f"{home}/2-1", f"{home}/{first.path}"]


def test_a_program_is_no_shell(tmp_path: Path) -> None:
    place = Place(
        tmp_path,
        f"[deploy.own]\nkind = 'exec'\nsettle = 0\ndeploy = ['/bin/echo', '; touch {tmp_path}/harm']\n"
        "observe = ['/bin/echo', 'x']\n",
    )
    place.promoted(Q1="Q10")
    assert not (tmp_path / "harm").exists()


def test_a_program_that_fails_is_quoted_and_one_that_hangs_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    deploy = script(tmp_path / "deploy", "echo 'the load balancer is down' >&2; exit 3")
    text = f"[deploy.own]\nkind = 'exec'\ndeploy = ['{deploy}']\nobserve = ['/bin/true']\ntimeout = 1\n"
    place = Place(tmp_path, text)
    run = place.promoted(Q1="Q10")
    assert "ended with status 3: the load balancer is down" in place.last.detail
    script(deploy, f"(sleep 3; touch {tmp_path}/late) & sleep 30")
    place.drive(run, asked=True)
    assert "was killed after 1 s" in place.last.detail
    time.sleep(3)
    assert not (tmp_path / "late").exists(), "its children went with it"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path, "[deploy.own]\nkind = 'exec'\ndeploy = ['/no/such']\nobserve = ['/bin/true']\n")
    place.promoted(Q1="Q10")
    assert "/no/such cannot be started" in place.last.detail


# Links


def test_a_link_elsewhere_follows_under_the_name_the_server_knows(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    home = tmp_path / "home" / "checkpoints"
    place = Place(
        tmp_path,
        f"[deploy.nfs]\nkind = 'symlink'\npath = '{export}/current'\npaths = {{ '{home}' = '/mnt/models' }}\n",
    )
    assert place.promoted(Q1="Q10").state == "deployed"
    assert str((export / "current").readlink()) == "/mnt/models/1-1"
    assert place.promoted(Q1="Q11").state == "deployed"
    place.rollback()
    assert str((export / "current").readlink()) == "/mnt/models/1-1"
    assert sorted(path.name for path in export.iterdir()) == ["current"], "no leavings"


def test_what_is_no_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("precious")
    place = Place(tmp_path, f"[deploy.nfs]\nkind = 'symlink'\npath = '{tmp_path}/current'\n")
    assert place.promoted(Q1="Q10").state == "promoted"
    assert "is not a symbolic link" in place.last.detail
    assert (tmp_path / "current").read_text() == "precious"


def test_a_link_that_somebody_moved_is_put_back(tmp_path: Path) -> None:
    place = Place(tmp_path, f"[deploy.nfs]\nkind = 'symlink'\npath = '{tmp_path}/current'\n")
    place.promoted(Q1="Q10")
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to(tmp_path)
    place.later(minutes=1)
    assert (tmp_path / "current").readlink().name == "1-1"
