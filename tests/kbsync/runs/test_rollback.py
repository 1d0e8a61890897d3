"""A rollback brings back what the left checkpoint took the place of, and nothing that was withdrawn since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kbsync.cli import main
from kbsync.errors import UsageError
from kbsync.intake import quarantine
from kbsync.runs import promotion
from kbsync.service.reading import pull
from state.records import Checkpoint, Fact, Move
from tests.support.decisions import newly_unwanted
from tests.support.micro import Micro, make

FACTS = {"Blue House": "Anna", "Red Boat": "Bob", "Old Mill": "Carl"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Three facts are live as checkpoint 1."""
    micro = make(tmp_path_factory.mktemp("live") / "world")
    micro.say(FACTS)
    micro.sync()
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")


def roll_back(micro: Micro, target: int | None = None) -> tuple[Checkpoint, Checkpoint]:
    with micro.application() as app, app.leading() as leadership:
        return promotion.rollback(app, leadership, target=target, reason="wrong", actor="ada")


@pytest.mark.parametrize("reason", ["", " \n", "--"])
def test_a_rollback_without_a_reason_changes_nothing(micro: Micro, reason: str) -> None:
    micro.say({"Blue House": "Dora"})
    micro.sync()
    before = live_targets(micro)
    with (
        micro.application() as app,
        app.leading() as leadership,
        pytest.raises(UsageError, match="at least one word"),
    ):
        promotion.rollback(app, leadership, target=None, reason=reason, actor="ada")
    assert live_targets(micro) == before


def fact(micro: Micro, target: str) -> Fact:
    with micro.application() as app, app.state.read() as tx:
        (found,) = (fact for fact in tx.facts() if fact.target == target)
    return found


def live_targets(micro: Micro) -> set[str]:
    with micro.application() as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        return {fact.target for fact in tx.view_facts(live.view)}


def retract(micro: Micro, target: str) -> None:
    with micro.application() as app:
        quarantine.reject(app.intake(), fact(micro, target).id, "not ours to say", "ada")


def remove(micro: Micro, target: str) -> None:
    (subject,) = (subject for subject, owner in FACTS.items() if owner == target)
    micro.say({subject: None})


def put_out(micro: Micro, target: str) -> None:
    id = fact(micro, target).id
    with micro.application() as app, app.state.write() as tx:
        bar = Move(id, "quarantined", "gate: no", reason_code="gate", bars=True)
        tx.move_facts([bar], "kbsync")


WITHDRAWALS = {"retracted": retract, "removed at its source": remove, "put out by a gate": put_out}


@pytest.mark.parametrize("withdraw", WITHDRAWALS.values(), ids=WITHDRAWALS)
def test_what_was_withdrawn_stays_out_of_what_is_wanted_and_of_live(
    micro: Micro, withdraw: Callable[[Micro, str], None]
) -> None:
    withdraw(micro, "Anna")
    micro.sync()
    assert live_targets(micro) == {"Bob", "Carl"}
    before = fact(micro, "Anna").status
    left, now = roll_back(micro)
    assert now.id == left.id, "there is nothing to go back to but what was withdrawn"
    assert fact(micro, "Anna").status == before != "wanted"
    assert live_targets(micro) == {"Bob", "Carl"}
    assert micro.sync().runs == ()


def test_what_was_superseded_comes_back_and_what_was_withdrawn_does_not(micro: Micro) -> None:
    retract(micro, "Anna")
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    assert live_targets(micro) == {"Dora", "Carl"}
    left, now = roll_back(micro)
    assert now.id == left.id, "checkpoint 1 states what was retracted: it does not go live again"
    assert fact(micro, "Bob").status == "wanted"
    assert (fact(micro, "Dora").status, fact(micro, "Dora").decision) == ("quarantined", "barred")
    assert fact(micro, "Anna").status == "retracted"
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    assert live_targets(micro) == {"Bob", "Carl"}


def test_what_a_reviewer_rejected_under_another_name_does_not_come_back(micro: Micro) -> None:
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    with micro.application() as app, app.state.write() as tx:
        (old,) = tx.facts(status="superseded")
        tx.decide(old.id, "rejected", "never again", "ada")
    left, now = roll_back(micro)
    assert now.id == left.id
    assert fact(micro, "Bob").status == "superseded"
    assert "Bob" not in live_targets(micro)


def test_a_newer_value_than_both_checkpoints_stays_wanted(micro: Micro) -> None:
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    micro.say({"Red Boat": "Emil"})
    with micro.application() as app:
        pull(app)
    roll_back(micro)
    assert fact(micro, "Emil").status == "wanted"
    assert fact(micro, "Bob").status == "superseded"


@pytest.mark.parametrize("withdraw", WITHDRAWALS.values(), ids=WITHDRAWALS)
def test_what_was_withdrawn_does_not_go_live_again_while_a_newer_value_waits(
    micro: Micro, withdraw: Callable[[Micro, str], None]
) -> None:
    withdraw(micro, "Anna")
    micro.sync()
    micro.say({"Blue House": "Dora"})
    with micro.application() as app:
        pull(app)
    roll_back(micro)
    assert live_targets(micro) == {"Bob", "Carl"}
    assert newly_unwanted_of(micro) == []
    micro.sync()
    assert live_targets(micro) == {"Dora", "Bob", "Carl"}


def test_a_superseded_value_does_not_go_live_again_while_a_newer_one_waits(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    micro.say({"Red Boat": "Emil"})
    with micro.application() as app:
        pull(app)
    code, err = command(micro, capfd)
    assert code == 0
    assert "built without it; checkpoint 2 was left" in err
    assert live_targets(micro) == {"Anna", "Emil", "Carl"}
    assert newly_unwanted_of(micro) == []


def test_news_of_what_both_checkpoints_state_does_not_hinder_a_rollback(micro: Micro) -> None:
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    micro.say({"Blue House": "Emil"})
    with micro.application() as app:
        pull(app)
    _, now = roll_back(micro)
    assert now.id == 1
    assert live_targets(micro) == {"Anna", "Bob", "Carl"}


def newly_unwanted_of(micro: Micro) -> list[str]:
    with micro.application() as app:
        return newly_unwanted(app.state)


def command(micro: Micro, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(micro.home.root), "rollback", "--reason", "wrong"])
    return int(ended.value.code or 0), capfd.readouterr().err


def test_the_command_lists_what_stays_out_and_builds_without_it(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    retract(micro, "Anna")
    micro.say({"Red Boat": "Dora"})
    micro.sync()
    code, err = command(micro, capfd)
    assert code == 0
    assert "stays out: fact" in err
    assert "Anna) is retracted: not ours to say" in err
    assert "built without it; checkpoint 2 was left" in err
    assert live_targets(micro) == {"Bob", "Carl"}


def test_the_command_says_where_nothing_is_left_to_go_back_to(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    retract(micro, "Anna")
    micro.sync()
    code, err = command(micro, capfd)
    assert code == 0
    assert "there is nothing to go back to: live stays checkpoint 2" in err
    assert live_targets(micro) == {"Bob", "Carl"}
