"""A decision holds for the value, by whatever name and from whatever source, until it is taken back."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from connectors.observations import Entity, Observation, Statement
from kbsync.admission.policy import Policy
from kbsync.errors import UsageError
from kbsync.intake import quarantine
from state.records import Fact, Move
from tests.support.admission_world import (
    DAY,
    HEAD,
    START,
    OpenWorld,
    Script,
    World,
    entity,
    observed,
    says,
)

BUSCH = entity("p1", "Roland Busch", "R. Busch")
BAR = {"reason_code": "gate", "bars": True}


def text(value: str, source: str = "csv") -> Observation:
    """Another source states the value as text, without an id."""
    thing = Entity(f"lit:{value}", value)
    statement = Statement("row-1", "literal", thing, "normal", None, None, 1)
    return Observation(source, entity("siemens"), HEAD, (statement,), 1, START - 30 * DAY, START)


def by(source: Script, *observations: Observation) -> Script:
    source.tell(*observations)
    return source


def only(world: World, object: str) -> Fact:
    (found,) = (fact for fact in world.facts() if fact.object == object)
    return found


def reject(world: World, fact: Fact) -> None:
    quarantine.reject(world.intake, fact.id, "he is not the chief", "ada")


def bar(world: World, fact: Fact, **evidence: object) -> None:
    """What a failed gate does."""
    with world.state.write() as tx:
        move = Move(fact.id, "quarantined", "gate efficacy: no", "wanted", evidence=evidence, **BAR)  # type: ignore[arg-type]
        tx.move_facts([move], "kbsync")


SPELLINGS = [
    "Roland Busch",
    "ROLAND BUSCH",
    "Roland  Busch",
    "Roland\u00a0Busch",
    "Ｒoland Busch",
    "Roland Bu\u00adsch",
    "R. Busch",
    "wd:p1",
    "P1",
]
"""The label, how else it can be typed, an alias, the id as text."""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_rejection_holds_for_text_that_names_the_entity(world: World, spelling: str) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.cycle(by(Script("csv"), text(spelling)), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}


@pytest.mark.parametrize("spelling", [spelling for spelling in SPELLINGS if "p1" not in spelling.lower()])
def test_a_rejection_of_text_holds_for_the_entity_of_that_name(world: World, spelling: str) -> None:
    world.cycle(by(Script("csv"), text(spelling)), bootstrap=True)
    (fact,) = world.facts()
    reject(world, fact)
    world.hear(observed("siemens", says(BUSCH)))
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}


DATES = [
    "2020-05-01T00:00:00Z",
    "2020-05-01T00:00:00",
    "2020-05-01 00:00:00",
    "+2020-05-01T00:00:00Z",
    "2020-05-01T00:00:00+00:00",
    "2020-05-01Z",
    "1 May 2020",
    "01 May 2020",
    "1st of May 2020",
    "May 1, 2020",
    "MAY 1 2020",
    "1 May\u00a02020",
]


@pytest.mark.parametrize("spelling", DATES)
@pytest.mark.parametrize("rejects", [True, False])
def test_a_rejection_of_a_date_holds_in_any_spelling(world: World, spelling: str, rejects: bool) -> None:
    first, second = ("2020-05-01", spelling) if rejects else (spelling, "2020-05-01")
    world.cycle(by(Script("csv"), text(first)), bootstrap=True)
    (fact,) = world.facts()
    reject(world, fact)
    world.cycle(by(Script("crm"), text(second, "crm")), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}


@pytest.mark.parametrize("other", ["2020-05-02", "2020-05", "2020", "1 June 2020", "2020-05-01T10:00:00Z"])
def test_a_rejection_of_a_date_leaves_other_dates(world: World, other: str) -> None:
    source = Script("csv")
    world.cycle(by(source, text("2020-05-01")), bootstrap=True)
    (fact,) = world.facts()
    reject(world, fact)
    world.cycle(by(source, replace(text(other), revision=2)), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"siemens": other}


def test_a_rejection_holds_for_another_entity_of_that_name(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.cycle(by(Script("hr"), observed("siemens", says(entity("x9", "roland busch")), source="hr")))
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}


def test_a_rejection_holds_after_the_entity_was_renamed(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.kb.tell(labels=(entity("p1", "Chief of Siemens"),))
    world.cycle(by(Script("csv"), text("Roland Busch")), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}


def test_another_value_is_not_rejected_with_it(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.hear(observed("siemens", says(entity("p2", "Anna Busch", "R. Busch")), revision=2))
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"siemens": "Anna Busch"}


def test_rejecting_one_name_retracts_what_is_wanted_under_another(world: World) -> None:
    world.cycle(by(Script("csv"), text("Roland Busch")), bootstrap=True)
    world.hear(observed("siemens", says(BUSCH)), after=DAY)
    assert world.wanted() == {"siemens": "Roland Busch"}
    with world.state.write() as tx:
        tx.decide(only(world, "lit:Roland Busch").id, "rejected", "no", "ada")
    world.intake.readmit([("wd:siemens", HEAD)])
    assert world.wanted() == {}


def test_reasons_name_a_text_by_its_words(world: World) -> None:
    world.cycle(by(Script("csv"), text("Roland Busch")))
    world.cycle(by(Script("other"), text("Anna Busch", "other")))
    world.hear(observed("france"), after=9 * DAY)
    reasons = [fact.reason for fact in world.facts()]
    assert any("Roland Busch" in reason for reason in reasons)
    assert not [reason for reason in reasons if "lit:" in reason]


def test_rejecting_a_doubted_value_takes_its_other_names_from_the_list(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH), says(entity("p2", "Anna"))))
    world.cycle(by(Script("csv"), text("R. Busch")), bootstrap=True)
    reject(world, only(world, "wd:p1"))
    waiting = {fact.object for fact in world.facts() if fact.status in ("held", "quarantined", "wanted")}
    assert waiting <= {"wd:p2"}


def test_a_denied_object_is_denied_as_text_too(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(deny_objects=frozenset({"wd:p1"})))
    world.hear(observed("siemens", says(BUSCH)))
    world.cycle(by(Script("csv"), text("roland busch")), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}
    assert {fact.reason_code for fact in world.facts()} == {"denied"}


def test_what_failed_a_gate_stays_out_as_text(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    bar(world, only(world, "wd:p1"))
    world.cycle(by(Script("csv"), text("Roland Busch")), bootstrap=True)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}
    assert only(world, "wd:p1").status == "quarantined"


def test_what_failed_a_gate_stays_out_when_the_source_writes_it_otherwise(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    bar(world, only(world, "wd:p1"))
    world.hear(observed("siemens", says(entity("p7", "Roland BUSCH")), revision=2), after=DAY)
    world.kb.tell(labels=(entity("siemens", "Siemens AG"),))
    world.cycle(after=9 * DAY)
    assert world.wanted() == {}
    assert "quarantined" in {fact.status for fact in world.facts()}


def test_what_failed_a_gate_stays_out_when_it_comes_back(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    bar(world, only(world, "wd:p1"))
    world.hear(observed("siemens", "anna", revision=2, modified=START), after=9 * DAY)
    assert world.wanted() == {"siemens": "Anna"}
    assert only(world, "wd:p1").status == "superseded"
    world.hear(observed("siemens", says(BUSCH), revision=3, modified=START + 9 * DAY), after=9 * DAY)
    assert world.status("siemens", "p1") == "quarantined barred"
    assert world.wanted() == {"siemens": "Anna"}


def test_a_rejection_is_taken_back(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    outcome = quarantine.reopen(world.intake, only(world, "wd:p1").id, "a mistake", "bob")
    assert [(change.before, change.after.status) for change in outcome.changes] == [("retracted", "wanted")]
    assert world.wanted() == {"siemens": "Roland Busch"}
    with world.state.read() as tx:
        (event,) = tx.events(kind="fact.reopened")
    body = json.loads(event.body)
    assert (event.actor, body["reason"], body["decision_before"]) == ("bob", "a mistake", "rejected")


def test_what_was_rejected_under_two_names_is_taken_back_under_both(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.cycle(by(Script("csv"), text("Roland Busch")), bootstrap=True)
    with world.state.write() as tx:
        tx.decide(only(world, "wd:p1").id, "rejected", "again", "ada")
    quarantine.reopen(world.intake, only(world, "wd:p1").id, "a mistake", "bob")
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"siemens": "Roland Busch"}


def test_a_failed_gate_is_taken_back_and_its_questions_are_asked_again(world: World) -> None:
    from state.records import Probe

    world.hear(observed("siemens", says(BUSCH)))
    fact = only(world, "wd:p1")
    with world.state.write() as tx:
        tx.put_probes(fact.id, [Probe("neighbour", "The chief of Bosch is", "Eve")])
    bar(world, fact)
    quarantine.reopen(world.intake, fact.id, "the neighbour was wrong", "bob")
    assert world.wanted() == {"siemens": "Roland Busch"}
    with world.state.read() as tx:
        assert tx.probes(fact.id) == ()


def test_an_approval_taken_back_is_a_doubt_again(world: World) -> None:
    person = entity("germany", "Germany", living=True)
    world.hear(observed(person, says(BUSCH)))
    fact = only(world, "wd:p1")
    assert fact.reason_code == "living_review"
    quarantine.approve(world.intake, fact.id, "public knowledge", "ada")
    assert world.wanted() == {"germany": "Roland Busch"}
    quarantine.reopen(world.intake, fact.id, "not so sure", "ada")
    assert world.status("germany", "p1") == "quarantined living_review"


def test_reopening_what_no_source_states_leaves_it_out_until_one_does(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.hear(observed("siemens", "anna", revision=2, modified=START), after=9 * DAY)
    outcome = quarantine.reopen(world.intake, only(world, "wd:p1").id, "a mistake", "bob")
    assert [fact.object for fact in outcome.unchanged] == ["wd:p1"]
    assert world.wanted() == {"siemens": "Anna"}
    world.hear(observed("siemens", says(BUSCH), revision=3, modified=START + 9 * DAY), after=9 * DAY)
    assert world.wanted() == {"siemens": "Roland Busch"}


def test_only_a_decision_can_be_taken_back(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH), says(entity("p2", "Anna"))))
    with pytest.raises(UsageError, match="nothing was decided"):
        quarantine.reopen(world.intake, only(world, "wd:p1").id, "why not", "bob")


@pytest.mark.parametrize("reason", ["", "   ", "…", "\u200b"])
def test_a_decision_needs_a_word(world: World, reason: str) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    with pytest.raises(UsageError, match="at least one word"):
        quarantine.reject(world.intake, only(world, "wd:p1").id, reason, "ada")
    assert world.wanted() == {"siemens": "Roland Busch"}


def test_a_rehearsal_says_what_would_happen_and_writes_nothing(world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    before, facts = world.events(), world.facts()
    outcome = quarantine.decide(
        world.intake, "reject", [world.fact("georgia_us", "bob").id], "wrong Georgia", "ada", rehearse=True
    )
    assert {(c.before, c.after.status, c.after.object) for c in outcome.changes} == {
        ("quarantined", "retracted", "wd:bob"),
        ("quarantined", "wanted", "wd:ann"),
    }
    assert (world.events(), world.facts()) == (before, facts)


def test_of_many_those_that_cannot_be_decided_are_left_and_listed(world: World) -> None:
    world.hear(
        observed("italy", "conte", "draghi"),
        observed("spain", says(entity("evil", "E\u200bl"))),
        observed("france", says(entity("long", "L" * 99))),
    )
    ids = [fact.id for fact in world.facts()]
    outcome = quarantine.decide(world.intake, "approve", ids, "all fine", "ada", named=False)
    assert world.wanted() == {"france": "L" * 99}
    assert {refusal.fact.object for refusal in outcome.refused} == {"wd:conte", "wd:draghi", "wd:evil"}


def test_the_breaker_does_not_count_what_reviewers_let_in(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_accepted=1))
    world.hear(observed("x", "x"))
    world.hear(*(observed(f"land_{n}", f"chief_{n}") for n in range(5)))
    stopped = [fact.id for fact in world.facts() if fact.reason_code == "volume"]
    assert len(stopped) == 4
    quarantine.decide(world.intake, "approve", stopped, "a real import", "ada", named=False)
    assert len(world.wanted()) == 6


def test_pages_of_decisions_are_each_one_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PAGE", 2)
    world.hear(*(observed(f"land_{n}", f"chief_{n}") for n in range(5)))
    ids = [fact.id for fact in world.facts()]
    outcome = quarantine.decide(world.intake, "reject", ids, "all wrong", "ada", named=False)
    assert len(outcome.changes) == 5
    assert world.wanted() == {}
    assert world.state.audit.verify().ok


def merged(world: World) -> None:
    """`siemens` becomes `siemens_ag`, of which the source says the same."""
    world.clock.forward(9 * DAY)
    world.kb.tell(
        observed("siemens_ag", says(BUSCH), revision=9), redirects=(("wd:siemens", "wd:siemens_ag"),)
    )
    world.cycle()
    world.cycle(after=9 * DAY)


def test_a_rejection_holds_for_the_subject_that_was_merged_into(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    merged(world)
    assert world.wanted() == {}
    (carried,) = (fact for fact in world.facts() if fact.subject == "wd:siemens_ag")
    assert (carried.status, carried.decision) == ("retracted", "rejected")
    quarantine.reopen(world.intake, carried.id, "a mistake", "bob")
    assert world.wanted() == {"siemens_ag": "Roland Busch"}


def test_what_failed_a_gate_stays_out_for_the_subject_that_was_merged_into(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    bar(world, only(world, "wd:p1"))
    merged(world)
    assert world.wanted() == {}
    assert world.status("siemens_ag", "p1") == "quarantined barred"


def test_what_was_decided_about_the_heir_goes_before_what_was_decided_about_the_merged(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)), observed("siemens_ag", says(BUSCH)))
    old, heir = sorted(world.facts(), key=lambda fact: fact.subject)
    reject(world, old)
    with world.state.write() as tx:
        tx.decide(heir.id, "approved", "he is", "bob")
    merged(world)
    assert world.wanted() == {"siemens_ag": "Roland Busch"}


def renamed(world: World, *formers: tuple[str, str], revision: int = 9) -> None:
    """The source has merged `p1` into `p9`, which has another name, and states that now."""
    world.clock.forward(9 * DAY)
    heir = says(entity("p9", "Busch, R. (manager)"))
    world.kb.tell(observed("siemens", heir, revision=revision), merged_objects=(("wd:p1", "wd:p9"), *formers))
    world.cycle()
    world.cycle(after=9 * DAY)


def test_a_rejection_holds_for_the_object_that_was_merged_into(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    renamed(world)
    assert world.wanted() == {}
    carried = only(world, "wd:p9")
    assert (carried.status, carried.decision) == ("retracted", "rejected")
    quarantine.reopen(world.intake, carried.id, "another man", "bob")
    renamed(world, revision=10)
    assert world.wanted() == {"siemens": "Busch, R. (manager)"}, "the reviewer's word is not taken back"


def test_a_rejection_reaches_a_merged_object_that_is_wanted_already(world: World) -> None:
    """The merge is learnt after its statement: a replica lags, or the source reads labels later."""
    world.hear(observed("siemens", says(BUSCH)))
    reject(world, only(world, "wd:p1"))
    world.hear(observed("siemens", says(entity("p9", "Busch, R.")), revision=9), after=9 * DAY)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"siemens": "Busch, R."}
    world.kb.tell(merged_objects=(("wd:p1", "wd:p9"),))
    world.cycle()
    assert world.wanted() == {}


def test_what_failed_a_gate_stays_out_under_the_object_that_was_merged_into(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    bar(world, only(world, "wd:p1"))
    renamed(world)
    assert world.wanted() == {}


@pytest.mark.parametrize(
    "denied", [{"deny_objects": frozenset({"wd:p1"})}, {"deny_subjects": frozenset({"wd:old"})}]
)
def test_a_denial_holds_for_what_the_entity_was_merged_into_until_the_merge_is_undone(
    open_world: OpenWorld, denied: dict[str, Any]
) -> None:
    """Over two merges, for another source and by the new name, and after the next reading."""
    world, csv = open_world(policy=Policy(**denied)), Script("csv")
    merged = ("p1", "p5", "p9") if "deny_objects" in denied else ("old", "between", "siemens")
    pairs = tuple((f"wd:{old}", f"wd:{new}") for old, new in pairwise(merged))
    world.hear(observed("siemens", says(entity("p9", "Busch, R."))))
    assert world.wanted() == {"siemens": "Busch, R."}
    world.kb.tell(merged_objects=pairs[:1])
    world.kb.tell(merged_objects=pairs[1:])
    world.cycle()
    assert world.wanted() == {}
    csv.tell(text("Busch, R."))
    world.cycle(csv, after=40 * DAY)
    world.intake.readmit([("wd:siemens", HEAD)])
    assert world.wanted() == {}
    (fact,) = {fact.reason for fact in world.facts() if fact.object == "wd:p9"}
    assert "on a deny-list" in fact
    assert world.state.audit.verify_tables().ok
    world.kb.tell(observed(merged[1], says(entity("p2", "Somebody")), revision=2))
    world.cycle(after=40 * DAY)
    assert world.wanted().get("siemens") == "Busch, R.", "the second merge was undone"


def test_a_merge_that_nothing_was_decided_about_changes_nothing(world: World) -> None:
    world.hear(observed("siemens", says(BUSCH)))
    renamed(world)
    assert world.wanted() == {"siemens": "Busch, R. (manager)"}
    before = world.events()
    world.kb.tell(merged_objects=(("wd:p1", "wd:p9"), ("wd:p9", "wd:p1")))
    world.cycle()
    assert world.events() == before
