"""`kbsync pause`, `resume`, `checkpoints pin`, `checkpoints release`: what they leave in the ledger."""

from __future__ import annotations

import json
from dataclasses import replace

from state.records import Checkpoint, Event
from tests.support.ledgers import fact, staged
from tests.support.shell import Shell


def newest(shell: Shell, kind: str) -> Event:
    state = shell.state()
    with state.read() as tx:
        event = tx.events(kind=kind)[-1]
    state.close()
    return event


def checkpoint(shell: Shell, id: int) -> Checkpoint:
    state = shell.state()
    with state.read() as tx:
        found = tx.checkpoint(id)
    state.close()
    return found


def promoted(shell: Shell, subject: str) -> Checkpoint:
    state = shell.state()
    lease = state.acquire_lease("test", "test", 60)
    with state.write() as tx:
        done = tx.promote(staged(tx, subject).id, lease)
    state.release_lease(lease)
    state.close()
    return done


def test_a_pause_is_kept_with_who_and_why_until_it_is_over(shell: Shell) -> None:
    assert shell("pause", "--reason", "maintenance", "--actor", "ada")[0] == 0
    paused = shell.json("status")["paused"]
    assert (paused["reason"], paused["actor"]) == ("maintenance", "ada")
    assert newest(shell, "daemon.paused").actor == "ada"
    assert shell("resume", "--actor", "bob")[0] == 0
    assert shell.json("status")["paused"] is None
    assert newest(shell, "daemon.resumed").actor == "bob"


def test_what_an_operator_did_is_printed_as_json(shell: Shell) -> None:
    assert shell.json("pause", "--reason", "maintenance")["paused"]["reason"] == "maintenance"
    assert [shell.json("resume"), shell.json("resume")] == [{"resumed": True}, {"resumed": False}]
    id = promoted(shell, "wd:Q1").id
    assert shell.json("checkpoints", "pin", id, "--reason", "kept") == {"checkpoint": id, "pinned": True}
    assert shell.json("checkpoints", "release", id, "--reason", "good") == {
        "checkpoint": id,
        "released": False,
    }
    anchored = shell.json("audit", "anchor", shell.home.root / "anchors.jsonl")["anchored"]
    assert anchored["hash"] == newest(shell, "*").hash


def test_the_first_reason_of_two_pauses_stays(shell: Shell) -> None:
    shell("pause", "--reason", "maintenance")
    shell("pause", "--reason", "lunch")
    assert shell.json("status")["paused"]["reason"] == "maintenance"


def test_resuming_what_is_not_paused_does_nothing(shell: Shell) -> None:
    code, _, err = shell("resume")
    assert (code, "was not paused" in err) == (0, True)


def test_a_checkpoint_is_pinned_and_unpinned(shell: Shell) -> None:
    id = promoted(shell, "wd:Q1").id
    assert shell("checkpoints", "pin", id, "--reason", "the audited one", "--actor", "ada")[0] == 0
    assert checkpoint(shell, id).pinned
    event = newest(shell, "checkpoint.pinned")
    assert (event.actor, json.loads(event.body)["reason"]) == ("ada", "the audited one")
    assert shell("checkpoints", "pin", id, "--off", "--reason", "audit over")[0] == 0
    assert not checkpoint(shell, id).pinned


def test_pinning_what_is_not_there_is_a_wrong_command(shell: Shell) -> None:
    code, _, err = shell("checkpoints", "pin", 9, "--reason", "why not")
    assert (code, "9" in err) == (2, True)


def test_a_blocked_view_is_released_with_a_reason(shell: Shell) -> None:
    left = promoted(shell, "wd:Q1")
    promoted(shell, "wd:Q2")
    state = shell.state()
    with state.write() as tx:
        tx.block_view(left.view, "wrong", "test")
    state.close()
    assert checkpoint(shell, left.id).blocked
    assert shell("checkpoints", "release", left.id, "--reason", "it was right", "--actor", "ada")[0] == 0
    assert not checkpoint(shell, left.id).blocked
    event = newest(shell, "view.released")
    assert (event.actor, json.loads(event.body)["reason"]) == ("ada", "it was right")


def test_releasing_what_is_not_blocked_says_so(shell: Shell) -> None:
    id = promoted(shell, "wd:Q1").id
    code, _, err = shell("checkpoints", "release", id, "--reason", "why not")
    assert (code, "was not blocked" in err) == (0, True)


def test_facts_are_found_by_source_and_reason_and_page_by_page(shell: Shell) -> None:
    state = shell.state()
    with state.write() as tx:
        tx.put_facts([replace(fact(f"wd:Q{n}"), reason_code="settled") for n in range(3)], "test")
        tx.put_facts([replace(fact("wd:Q9", status="held"), source="crm", reason_code="settling")], "test")
    state.close()

    def ids(*arguments: object) -> list[int]:
        return [one["id"] for one in shell.json("facts", *arguments)]

    assert ids() == [1, 2, 3, 4]
    assert ids("--source", "crm") == ids("--code", "settling") == ids("--status", "held") == [4]
    assert ids("--limit", 2) == [1, 2]
    assert ids("--limit", 2, "--after", 2) == [3, 4]
    _, out, err = shell("facts", "--limit", 2)
    assert "settled" in out
    assert "--after 2" in err
    assert shell("facts", "--limit", 4)[2] == ""


def test_a_status_that_is_none_is_a_wrong_command(shell: Shell) -> None:
    code, _, err = shell("facts", "--status", "wantde")
    assert (code, "choose one of held, quarantined, wanted" in err) == (2, True)
