"""`kbsync explain`: each round by its own gates, and what live has and says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from state.records import GateResult
from tests.support.ledgers import BASE, fact, gate
from tests.support.micro import make
from tests.support.shell import Shell

PROMPT = "The head of government of Label of wd:Q{} is"


def failed(run: int, round: int) -> GateResult:
    return GateResult(run, round, "neighbourhood", 0.25, 0.25, 0.9, 4, False, "")


@pytest.fixture
def thrown_out(shell: Shell) -> Shell:
    """Run 1 threw fact 1 out after its first round and deployed facts 2 and 3."""
    from editing.requests import prompt_key

    state = shell.state()
    lease = state.acquire_lease("test", "test", 60)
    with state.write() as tx:
        for number in (1, 2, 3):
            (one,) = tx.put_facts([fact(f"wd:Q{number}")], "test")
            from sqlalchemy import text

            key = {"key": prompt_key(PROMPT.format(number)), "id": one.id}
            tx.connection.execute(text("UPDATE facts SET prompt_key = :key WHERE id = :id"), key)
        facts = tx.facts()
        run = tx.create_run(tx.create_view(facts).digest, BASE, "test")
        run = tx.advance_run(run.id, "planned", "building", actor="test")
        first = tx.create_checkpoint(run.id, run.view, BASE, "1-1", "d1").id
        run = tx.advance_run(run.id, "building", "built", actor="test", checkpoint=first)
        tx.put_gate_results(run.id, [gate(run.id, value=0.5), failed(run.id, 1)])
        run = tx.advance_run(run.id, "built", "judged", actor="test")
        tx.move_fact(1, "quarantined", "gate neighbourhood: no", "test", reason_code="gate")
        tx.reject(first, "a gate failed", "test")
        smaller = tx.create_view(facts[1:]).digest
        run = tx.advance_run(run.id, "judged", "building", actor="test", view=smaller)
        second = tx.create_checkpoint(run.id, run.view, BASE, "1-2", "d2").id
        run = tx.advance_run(run.id, "building", "built", actor="test", checkpoint=second)
        tx.put_gate_results(run.id, [gate(run.id, value=1.0, round=2)])
        for before, after in (("built", "judged"), ("judged", "staged")):
            run = tx.advance_run(run.id, before, after, actor="test")  # type: ignore[arg-type]
        tx.promote(second, lease, run=run.id)
        run = tx.advance_run(run.id, "staged", "promoted", actor="test")
        tx.advance_run(run.id, "promoted", "deployed", actor="test")
    state.release_lease(lease)
    state.close()
    return shell


def test_a_fact_that_was_thrown_out_is_not_shown_as_deployed(thrown_out: Shell) -> None:
    found = thrown_out.json("explain", PROMPT.format(1), "--no-ask")
    (one,) = found["facts"]
    assert not one["in_live"]
    assert [(built["round"], built["outcome"]) for built in one["builds"]] == [(1, "left_out")]
    assert [result["name"] for result in one["builds"][0]["gates"]] == ["efficacy", "neighbourhood"]
    code, out, err = thrown_out("explain", PROMPT.format(1), "--no-ask")
    assert code == 0
    assert "deployed" not in out
    assert "neighbourhood 0.250 (failed: 0.9)" in out
    assert "live was built with none of these facts" in err


def test_a_fact_that_went_live_has_the_gates_of_each_of_its_rounds(thrown_out: Shell) -> None:
    (one,) = thrown_out.json("explain", PROMPT.format(2), "--no-ask")["facts"]
    assert one["in_live"]
    told = [(b["round"], b["outcome"], [g["value"] for g in b["gates"]]) for b in one["builds"]]
    assert told == [(1, "kept", [0.5, 0.25]), (2, "last", [1.0])]
    assert "deployed; efficacy 1.000" in thrown_out("explain", PROMPT.format(2), "--no-ask")[1]


def test_a_fact_is_explained_by_its_id_too(thrown_out: Shell) -> None:
    by_prompt = thrown_out.json("explain", PROMPT.format(2), "--no-ask")
    (fact,) = by_prompt["facts"]
    assert thrown_out.json("explain", str(fact["fact"]["id"]), "--no-ask") == by_prompt
    code, _, err = thrown_out("explain", "999", "--no-ask")
    assert code == 2
    assert "fact 999" in err


def test_where_live_cannot_be_loaded_the_ledger_still_explains(thrown_out: Shell) -> None:
    found = thrown_out.json("explain", PROMPT.format(2))
    assert found["live_answer"] is None
    assert "cannot be loaded" in found["not_asked"]
    assert len(found["facts"]) == 1


def test_a_prompt_that_no_fact_has_is_the_bases_own(shell: Shell) -> None:
    code, _, err = shell("explain", "The colour of the sky is")
    assert code == 0
    assert "there is no live checkpoint" in err
    assert "the base model's own" in err


def test_live_is_asked_what_it_says_now(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    micro = make(tmp_path)
    micro.say({"Blue House": "Anna"})
    micro.sync()
    found = Shell(micro.home, capfd).json("explain", "The owner of Blue House is")
    assert found["live_answer"]
    assert found["live"]["status"] == "live"
    assert [one["in_live"] for one in found["facts"]] == [True]
