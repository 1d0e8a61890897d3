"""The outbox: servers are notified at least once, tried again in time, given up on as settled, killed anywhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from editing.storage import checkpoints
from kbsync.executor import Stopping
from tests.support.promoted import Place
from tests.support.replay import check
from tests.support.stand_ins import Sglang, Vllm, listening

REFUSED = (400, {"success": False, "message": "no"})


@pytest.fixture
def server() -> Iterator[Sglang]:
    with listening(Sglang()) as server:
        assert isinstance(server, Sglang)
        yield server


def table(server: Sglang | Vllm, more: str = "", name: str = "prod") -> str:
    kind = type(server).__name__.lower()
    return f"[deploy.{name}]\nkind = '{kind}'\nurl = '{server.url}'\nsettle = 0\n{more}\n"


def test_a_run_without_hooks_is_deployed_when_the_link_is_seen(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.promoted(Q1="Q10").state == "deployed"
    assert place.outbox == []


def test_a_run_is_deployed_only_when_every_server_has_it(tmp_path: Path, server: Sglang) -> None:
    with listening(Vllm()) as other:
        assert isinstance(other, Vllm)
        place = Place(tmp_path, table(server) + table(other, name="second"))
        other.faults["/pause"] = [(500, {"error": "no"})]
        run = place.promoted(Q1="Q10")
        assert run.state == "promoted"
        assert place.outbox == [("prod", "deployed"), ("second", "failed")]
        assert [run.state for run in place.later(minutes=1)] == ["deployed"]
        assert len(server.told("/update_weights_from_disk")) == 1, "who has it is not told again"
    kinds = [event.kind for event in place.read()[2] if event.kind.startswith("deployment.")]
    assert kinds == [
        "deployment.deploying", "deployment.deployed", "deployment.deploying", "deployment.failed",
        "deployment.deploying", "deployment.deployed",
    ]  # fmt: skip
    check(place.application().state)


def test_the_wait_doubles_and_counts_from_the_row_not_from_the_process(
    tmp_path: Path, server: Sglang
) -> None:
    place = Place(tmp_path, table(server, "backoff = '1m'\nattempts = 4"))
    server.faults["/update_weights_from_disk"] = [REFUSED] * 3
    place.promoted(Q1="Q10")

    def told() -> int:
        return len(server.told("/update_weights_from_disk"))

    for wait in (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)):
        before = told()
        due = place.last.updated + wait
        place.clock.now = due - timedelta(seconds=20)
        place.later()
        assert told() == before
        place.clock.now = due
        ended = place.later()
        assert told() == before + 1
    assert [run.state for run in ended] == ["deployed"]


def test_a_person_need_not_wait(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server, "backoff = '1h'"))
    server.faults["/update_weights_from_disk"] = [REFUSED]
    run = place.promoted(Q1="Q10")
    assert place.drive(run).state == "promoted"
    assert place.drive(run, asked=True).state == "deployed"


def test_failed_for_good_keeps_the_promotion_and_says_so(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server, "attempts = 2\nbackoff = 1"))
    server.faults["/update_weights_from_disk"] = [REFUSED] * 2
    run = place.promoted(Q1="Q10")
    assert run.state == "promoted"
    (ended,) = place.later(minutes=1)
    assert ended.state == "failed"
    assert ended.reason.startswith("deploy hook prod failed after 2 attempts: POST http://")
    assert checkpoints.read_live(tmp_path / "home" / "checkpoints") == "1-1"
    place.later(hours=1)
    assert place.outbox == [("prod", "deployed")], "the server goes on being told: it may come back"
    assert place.read()[0].state == "failed"


def test_failed_for_good_goes_back_where_that_is_asked_for(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server, "attempts = 1\non_failure = 'rollback'"))
    place.promoted(Q1="Q10")
    server.faults["/update_weights_from_disk"] = [REFUSED]
    run = place.promoted(Q1="Q11")
    assert run.state == "rolled_back"
    assert "deploy hook prod failed after 1 attempts" in run.reason
    assert checkpoints.read_live(tmp_path / "home" / "checkpoints") == "1-1"
    assert place.outbox == [("prod", "deployed"), ("prod", "superseded"), ("prod", "deployed")]
    assert server.version.startswith("1-1@")
    with place.application().state.read() as tx:
        assert [fact.object for fact in tx.wanted()] == ["Q11"], "the facts are not to blame"
        assert [block.view for block in tx.blocked_views()] == [run.view]
    check(place.application().state)


def test_what_was_withdrawn_does_not_come_back_with_a_server_that_cannot_load(
    tmp_path: Path, server: Sglang
) -> None:
    place = Place(tmp_path, table(server, "attempts = 1\non_failure = 'rollback'"))
    place.promoted(Q1="Q10", Q2="Q20")
    with place.application().state.write() as tx:
        (gone,) = tx.facts(subject="Q1")
        tx.move_fact(gone.id, "retracted", "we were wrong", "ada")
    server.faults["/update_weights_from_disk"] = [REFUSED]
    run = place.promoted(Q3="Q30")
    assert run.state == "failed"
    assert f"not wanted any more: fact {gone.id}" in run.reason
    assert checkpoints.read_live(tmp_path / "home" / "checkpoints") == "2-1"


def test_the_first_promotion_has_nothing_to_go_back_to(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server, "attempts = 1\non_failure = 'rollback'"))
    server.faults["/update_weights_from_disk"] = [REFUSED]
    run = place.promoted(Q1="Q10")
    assert run.state == "failed"
    assert "cannot go back: no earlier checkpoint" in run.reason


def test_an_operators_rollback_tells_the_servers(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server))
    place.promoted(Q1="Q10")
    place.promoted(Q1="Q11")
    now = place.rollback()
    assert server.version.startswith(f"{now.path}@")
    assert place.outbox[-1] == ("prod", "deployed")
    assert place.read()[0].state == "rolled_back"


def test_a_newer_promotion_drops_notifications_not_yet_sent(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server))
    server.faults["/update_weights_from_disk"] = [REFUSED]
    first = place.promoted(Q1="Q10")
    second = place.promoted(Q1="Q11")
    assert second.state == "deployed"
    assert place.outbox == [("prod", "superseded"), ("prod", "deployed")]
    old = place.drive(first)
    assert (old.state, old.reason) == (
        "rolled_back",
        f"checkpoint {second.checkpoint} went live before every server had this one",
    )
    assert [Path(body["model_path"]).name for body in server.told("/update_weights_from_disk")] == [
        "1-1",
        "2-1",
    ]


def test_a_hook_that_is_configured_later_hears_of_what_is_live(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path)
    place.promoted(Q1="Q10")
    place.hooks = table(server)
    place.later()
    assert place.outbox == [("prod", "deployed")]
    assert server.version.startswith("1-1@")
    check(place.application().state)


def test_a_hook_that_is_no_longer_configured_is_dropped(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server))
    server.faults["/update_weights_from_disk"] = [REFUSED]
    place.promoted(Q1="Q10")
    place.hooks = ""
    assert [run.state for run in place.later()] == ["deployed"]
    assert place.outbox == [("prod", "superseded")]


@pytest.mark.parametrize(
    "point",
    [
        "kbsync.promotion:after-commit",
        "kbsync.deploying:before-telling",
        "kbsync.deploying:after-telling",
        "kbsync.deploying:after-row",
    ],
)
def test_killed_between_any_two_steps_of_telling_it_ends_deployed(
    tmp_path: Path, server: Sglang, point: str
) -> None:
    place = Place(tmp_path, table(server))
    run = place.staged(Q1="Q10")
    place.drive_until_killed(run, point)
    assert place.drive(run).state == "deployed"
    assert place.outbox == [("prod", "deployed")]
    times = 2 if point == "kbsync.deploying:after-telling" else 1
    assert len(server.told("/update_weights_from_disk")) == times, "at least once"
    check(place.application().state)


@pytest.mark.parametrize(
    "point", ["kbsync.promotion:after-rollback-commit", "kbsync.deploying:before-telling@2"]
)
def test_killed_while_going_back_it_ends_gone_back(tmp_path: Path, server: Sglang, point: str) -> None:
    place = Place(tmp_path, table(server, "attempts = 1\non_failure = 'rollback'"))
    place.promoted(Q1="Q10")
    server.faults["/update_weights_from_disk"] = [REFUSED]
    run = place.staged(Q1="Q11")
    place.drive_until_killed(run, point)
    place.later()
    assert place.read()[0].state == "rolled_back"
    assert place.outbox[-1] == ("prod", "deployed")
    assert server.version.startswith("1-1@")
    assert checkpoints.read_live(tmp_path / "home" / "checkpoints") == "1-1"
    check(place.application().state)


def test_an_attempt_that_was_cut_off_is_not_the_last_one(tmp_path: Path, server: Sglang) -> None:
    place = Place(tmp_path, table(server, "attempts = 2\nbackoff = 1"))
    run = place.staged(Q1="Q10")
    server.faults["/update_weights_from_disk"] = [REFUSED]
    place.drive_until_killed(run, "kbsync.deploying:after-row")
    place.drive_until_killed(run, "kbsync.deploying:before-telling")
    assert place.last.attempts == 2
    assert place.drive(run).state == "deployed", "what was cut off is told once more"


def test_asked_to_stop_it_lets_go_of_a_hanging_server_and_goes_on_later(
    tmp_path: Path, server: Sglang
) -> None:
    place = Place(tmp_path, table(server))
    server.hanging = {"/update_weights_from_disk"}
    run = place.staged(Q1="Q10")
    app = place.application()
    threading.Timer(1.0, app.stopping.set).start()
    with pytest.raises(Stopping):
        place.drive(run)
    assert place.last.state == "deploying"
    app.stopping.clear()
    server.released.set()
    assert place.drive(run).state == "deployed"


def test_the_log_records_which_server_was_notified_of_what_and_its_answer(
    tmp_path: Path, server: Sglang
) -> None:
    place = Place(tmp_path, table(server))
    place.promoted(Q1="Q10")
    told = [json.loads(event.body) for event in place.read()[2] if event.kind == "deployment.deployed"]
    assert [(one["hook"], one["checkpoint"], one["detail"]) for one in told] == [
        ("prod", 1, "1 of 1 canary facts answered")
    ]
    assert told[0]["observed"] == server.version
