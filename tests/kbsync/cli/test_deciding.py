"""`kbsync quarantine`, `retract`, `unretract`: decisions about one fact and about many."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from kbsync.settings.in_force import judged_under
from kbsync.settings.loading import load
from state.records import Fact, Move, Probe
from tests.support.admission_world import World, entity, observed, says
from tests.support.shell import Shell

pytestmark = pytest.mark.usefixtures("decided_by_ada")


@pytest.fixture
def decided_by_ada(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")


@pytest.fixture
def world(shell: Shell) -> Iterator[World]:
    made = shell.world()
    yield made
    made.state.close()


def put_out(shell: Shell, world: World, subject: str, gate: str, run: int, **evidence: object) -> Fact:
    """What a failed gate leaves behind."""
    settings = load(shell.home.config, {})
    (fact,) = (f for f in world.facts() if f.subject == f"wd:{subject}" and f.status == "wanted")
    told = {"gate": gate, "run": run, "round": 1, "shortfall": 0.5, **evidence}
    told.setdefault("settings", judged_under(settings, settings.gate_list()))
    move = Move(fact.id, "quarantined", f"gate {gate}: no", evidence=told, reason_code="gate", bars=True)
    with world.state.write() as tx:
        return tx.move_facts([move], "kbsync")[0]


def test_a_fact_is_retracted_and_the_retraction_taken_back(shell: Shell, world: World) -> None:
    world.hear(observed("italy", "conte"))
    code, _, err = shell("retract", 1, "--reason", "not ours to say")
    assert (code, world.wanted()) == (0, {})
    assert "fact 1 (Italy, wdt:P6, Conte) is retracted: not ours to say" in err
    code, _, err = shell("unretract", 1, "--reason", "a mistake")
    assert (code, world.wanted()) == (0, {"italy": "Conte"})
    assert "is wanted" in err


def test_who_decided_is_in_the_log_as_claimed_and_as_the_system_knows(shell: Shell, world: World) -> None:
    world.hear(observed("italy", "conte"))
    shell("retract", 1, "--reason", "no", "--actor", "ceo@example.org")
    with world.state.read() as tx:
        decided = [event for event in tx.events(fact=1) if event.actor == "ceo@example.org"]
    assert len(decided) == 2
    assert all("(uid " in json.loads(event.body)["os_user"] for event in decided)


@pytest.mark.parametrize(
    "command",
    [
        ("retract", 1),
        ("quarantine", "approve", 1),
        ("quarantine", "reject", 1),
        ("quarantine", "reopen", 1),
        ("unretract", 1),
        ("pause",),
        ("checkpoints", "pin", 1),
        ("checkpoints", "release", 1),
        ("review", "approve", 1),
        ("review", "reject", 1),
        ("rollback",),
    ],
)
@pytest.mark.parametrize("reason", ["", " ", "-!"])
def test_every_decision_needs_a_reason_of_a_word(
    shell: Shell, world: World, command: tuple[object, ...], reason: str
) -> None:
    world.hear(observed("italy", "conte"))
    before = world.events()
    code, _, err = shell(*command, f"--reason={reason}")
    assert code == 2
    assert "at least one word" in err
    assert world.events() == before


@pytest.mark.parametrize("reason", ["x" * 10_001, "a\0b", "a\ud800b"])
def test_a_reason_that_nobody_could_read_or_store_is_refused(shell: Shell, world: World, reason: str) -> None:
    before = world.events()
    code, _, err = shell("pause", f"--reason={reason}")
    assert code == 2
    assert "reason" in err
    assert world.events() == before


@pytest.mark.parametrize("name", ["", "  ", "-", "ada\x1b[2J", "ada\nbob", "\u202eada", "x" * 201])
def test_who_decides_is_named_in_visible_characters(shell: Shell, world: World, name: str) -> None:
    before = world.events()
    code, _, err = shell("pause", "--reason", "why not", f"--actor={name}")
    assert code == 2
    assert "name" in err
    assert world.events() == before


def test_a_decision_without_a_reason_is_refused(shell: Shell, world: World) -> None:
    world.hear(observed("italy", "conte"))
    assert shell("retract", 1)[0] == 2
    assert world.wanted() == {"italy": "Conte"}


def test_facts_are_named_or_chosen_and_not_both(shell: Shell, world: World) -> None:
    world.hear(observed("italy", "conte"))
    for arguments in ((), (1, "--gate", "efficacy")):
        code, _, err = shell("quarantine", "reject", *arguments, "--reason", "no")
        assert (code, "one of the two" in err) == (2, True)


def test_many_are_chosen_by_what_they_have_in_common(shell: Shell, world: World) -> None:
    names = ("a_land", "b_land", "c_land", "d_land")
    world.hear(*(observed(name, f"chief_{name}") for name in names))
    put_out(shell, world, "a_land", "efficacy", 1)
    put_out(shell, world, "b_land", "neighbourhood", 1)
    put_out(shell, world, "c_land", "neighbourhood", 2)

    def chosen(*arguments: object) -> set[str]:
        return {one["fact"]["subject"] for one in shell.json("quarantine", *arguments)}

    assert chosen() == {"wd:a_land", "wd:b_land", "wd:c_land"}
    assert chosen("--gate", "neighbourhood") == {"wd:b_land", "wd:c_land"}
    assert chosen("--run", 1) == {"wd:a_land", "wd:b_land"}
    assert chosen("--run", 1, "--gate", "neighbourhood") == {"wd:b_land"}
    assert chosen("--relation", "wdt:P36") == set()
    assert chosen("--source", "kb", "--code", "gate") == {"wd:a_land", "wd:b_land", "wd:c_land"}


def test_a_dry_run_lists_and_writes_nothing(shell: Shell, world: World) -> None:
    world.hear(observed("a_land", "ann"), observed("b_land", "bob"))
    put_out(shell, world, "a_land", "neighbourhood", 1)
    put_out(shell, world, "b_land", "efficacy", 1)
    before = world.events()
    code, out, err = shell("quarantine", "reopen", "--gate", "neighbourhood", "--dry-run")
    assert code == 0
    assert "A Land" in out
    assert "wanted" in out
    assert "B Land" not in out
    assert "nothing was written" in err
    assert world.events() == before
    code, _, _ = shell("quarantine", "reopen", "--gate", "neighbourhood", "--reason", "a bad neighbour")
    assert (code, world.wanted()) == (0, {"a_land": "Ann"})


def test_choosing_none_decides_nothing(shell: Shell, world: World) -> None:
    code, _, err = shell("quarantine", "approve", "--gate", "efficacy", "--reason", "all fine")
    assert (code, "nothing was decided" in err) == (0, True)


def test_what_failed_under_other_settings_is_named_and_reopened_together(shell: Shell, world: World) -> None:
    world.hear(observed("a_land", "ann"), observed("b_land", "bob"))
    put_out(shell, world, "a_land", "efficacy", 1)
    assert shell.json("quarantine", "--stale") == []
    shell.settings("[edit]\nsteps = 40")
    put_out(shell, world, "b_land", "efficacy", 2)
    assert [one["fact"]["subject"] for one in shell.json("quarantine", "--stale")] == ["wd:a_land"]
    assert "reopen --stale" in shell("quarantine")[2]
    assert "reopen --stale" in shell("status")[1]
    assert shell.json("status")["stale"] == 1
    shell("quarantine", "reopen", "--stale", "--reason", "better settings")
    assert world.wanted() == {"a_land": "Ann"}
    assert shell.json("status")["stale"] == 0


def test_rejected_ones_are_reopened_by_source(shell: Shell, world: World) -> None:
    world.hear(observed("a_land", "ann"), observed("b_land", "bob"))
    shell("retract", 1, 2, "--reason", "the source was vandalised")
    assert world.wanted() == {}
    shell("quarantine", "reopen", "--source", "kb", "--reason", "it was repaired")
    assert world.wanted() == {"a_land": "Ann", "b_land": "Bob"}


def test_of_many_approvals_impossible_ones_are_listed_and_left(shell: Shell, world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"), observed("france", says(entity("long", "L" * 99))))
    found = shell.json("quarantine", "approve", "--source", "kb", "--reason", "all fine")
    assert [change["after"]["subject"] for change in found["changes"]] == ["wd:france"]
    assert {refusal["fact"]["object"] for refusal in found["refused"]} == {"wd:conte", "wd:draghi"}


def test_a_fact_put_out_is_shown_with_what_judged_it(shell: Shell, world: World) -> None:
    world.hear(
        observed("italy", "conte"),
        observed("georgia", "ann"),
        observed(entity("georgia_us", "Georgia"), "bob"),
    )
    probe = {
        "kind": "neighbour",
        "prompt": "The head of government of Georgia is",
        "expected": "Ann",
        "answer": "Conte",
        "passed": False,
    }
    answers = {"base": "Renzi", "live": None, "candidate": "Draghi"}
    id = put_out(shell, world, "italy", "neighbourhood", 7, probes=[probe], answers=answers).id
    code, out, _ = shell("quarantine", "show", id)
    assert code == 0
    for told in ("Renzi", "Draghi", "neighbourhood, run 7", "The head of government of Georgia is"):
        assert told in out
    found = shell.json("quarantine", "show", id)
    (question,) = found["questions"]
    assert (question["passed"], question["answer"]) == (False, "Conte")
    assert question["about"]["status"] == "quarantined"
    assert question["about"]["reason_code"] == "homonym"


def test_a_doubted_fact_is_shown_with_its_rivals_and_its_stored_questions(shell: Shell, world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    with world.state.write() as tx:
        tx.put_probes(1, [Probe("neighbour", "The head of government of Spain is", "Eve")])
    found = shell.json("quarantine", "show", 1)
    assert [(r["why"], r["fact"]["subject"]) for r in found["rivals"]] == [("same prompt", "wd:georgia_us")]
    assert [(q["kind"], q["passed"]) for q in found["questions"]] == [("neighbour", None)]
    assert found["history"][0]["kind"] == "fact.quarantined"
    assert "homonym" in shell("quarantine", "show", 1)[1]


@pytest.mark.parametrize(
    "command",
    [
        ("quarantine", "show", 99),
        ("quarantine", "reject", 99, "--reason", "wrong"),
        ("quarantine", "approve", 99, "--reason", "right"),
        ("retract", 99, "--reason", "wrong"),
        ("runs", 99),
        ("explain", 99, "--no-ask"),
    ],
)
def test_a_number_that_nothing_has_is_a_usage_error(
    shell: Shell, world: World, command: tuple[str | int, ...]
) -> None:
    code, _, err = shell(*command)
    assert (code, bool(re.search("there is no (fact|run) 99", err))) == (2, True)


def test_what_needs_two_people_is_not_done_by_one_under_two_names(shell: Shell, world: World) -> None:
    shell.settings("[review]\napprovals = 2\n")
    world.hear(observed("a_land", "ann"), observed("b_land", "bob"))
    put_out(shell, world, "a_land", "efficacy", 1)
    put_out(shell, world, "b_land", "efficacy", 1)
    code, _, err = shell("quarantine", "approve", 1, "--reason", "checked", "--actor", "alice")
    assert code == 0
    assert "is approved by alice; another person has to approve it as well" in err
    code, _, err = shell("quarantine", "approve", 1, "--reason", "checked", "--actor", "bob")
    assert code == 2
    assert "bob has approved this already, as alice" in err
    found = shell.json(
        "quarantine", "approve", "--gate", "efficacy", "--reason", "all fine", "--actor", "bob"
    )
    assert [one["fact"]["id"] for one in found["refused"]] == [1], "listed and left"
    assert [one["fact"]["id"] for one in found["seconded"]] == [2]
    assert found["changes"] == []
    assert world.wanted() == {}
    code, _, _ = shell("quarantine", "reject", 1, "--reason", "wrong", "--actor", "alice")
    assert code == 0, "one is enough to keep something out"
