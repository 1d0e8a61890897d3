"""What a reviewer says is respected, and nothing else is."""

from __future__ import annotations

import pytest

from kbsync.admission.policy import Policy
from kbsync.errors import NoSuchFact, UsageError
from kbsync.intake import quarantine
from state.records import Move
from tests.support.admission_world import DAY, HOUR, START, OpenWorld, World, entity, observed, says


def approve(world: World, subject: str, object: str) -> None:
    quarantine.approve(world.intake, world.fact(subject, object).id, "looked at it", "ada")


def reject(world: World, subject: str, object: str) -> None:
    quarantine.reject(world.intake, world.fact(subject, object).id, "vandalism", "ada")


def test_one_of_two_values_approved_is_wanted_and_the_other_waits_on(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    approve(world, "italy", "draghi")
    assert world.wanted() == {"italy": "Draghi"}
    assert world.status("italy", "conte") == "quarantined several_values"


def test_one_of_two_values_rejected_leaves_the_other(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    reject(world, "italy", "draghi")
    assert world.wanted() == {"italy": "Conte"}
    assert world.fact("italy", "draghi").status == "retracted"


def test_both_rejected_leaves_nothing(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    reject(world, "italy", "draghi")
    reject(world, "italy", "conte")
    assert world.wanted() == {}


def test_a_held_value_approved_does_not_wait(world: World) -> None:
    world.hear(observed("italy", "conte", modified=START))
    approve(world, "italy", "conte")
    assert world.wanted() == {"italy": "Conte"}


def test_an_approved_homonym_wins_and_its_rival_stays_out(world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    approve(world, "georgia", "ann")
    assert world.wanted() == {"georgia": "Ann"}
    assert world.status("georgia_us", "bob") == "quarantined homonym"


def test_of_two_homonyms_only_one_can_be_approved(world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    approve(world, "georgia", "ann")
    with pytest.raises(UsageError, match="georgia"):
        approve(world, "georgia_us", "bob")
    assert world.wanted() == {"georgia": "Ann"}


def test_of_two_values_only_one_can_be_approved(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    approve(world, "italy", "conte")
    with pytest.raises(UsageError, match="Conte"):
        approve(world, "italy", "draghi")
    assert world.wanted() == {"italy": "Conte"}
    reject(world, "italy", "conte")
    assert world.wanted() == {"italy": "Draghi"}


def test_a_rejected_homonym_frees_the_other(world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    reject(world, "georgia_us", "bob")
    assert world.wanted() == {"georgia": "Ann"}


def test_a_denied_homonym_frees_the_other(world: World) -> None:
    world.hear(observed("georgia", "ann"), observed(entity("georgia_us", "Georgia"), "bob"))
    world.policy = Policy(deny_subjects=frozenset({"wd:georgia_us"}))
    world.intake.readmit([("wd:georgia_us", "wdt:P6")])
    assert world.wanted() == {"georgia": "Ann"}
    assert world.status("georgia_us", "bob") == "quarantined denied"


def test_an_approval_is_of_the_value_as_it_was_spelled(world: World) -> None:
    world.hear(observed("italy", says(entity("long", "L" * 99))))
    approve(world, "italy", "long")
    world.kb.tell(labels=(entity("long", "V" * 99),))
    world.cycle(after=HOUR)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italy": "L" * 99}
    assert world.status("italy", "long") == "quarantined label_long"


def test_a_flipping_value_can_be_approved(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_flips=0))
    world.hear(
        *(
            observed("italy", name, revision=n, modified=START - (9 - n) * DAY)
            for n, name in enumerate(("ann", "bob", "ann"))
        )
    )
    assert world.status("italy", "ann") == "quarantined flips"
    approve(world, "italy", "ann")
    assert world.wanted() == {"italy": "Ann"}


def test_a_long_label_can_be_approved_but_not_an_invisible_character(world: World) -> None:
    world.hear(
        observed("italy", says(entity("long", "L" * 99))), observed("spain", says(entity("evil", "E\u200bl")))
    )
    approve(world, "italy", "long")
    assert world.wanted() == {"italy": "L" * 99}
    with pytest.raises(UsageError, match="label_control"):
        approve(world, "spain", "evil")


def test_what_is_denied_cannot_be_approved(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(deny_objects=frozenset({"wd:conte"})))
    world.hear(observed("italy", "conte"))
    with pytest.raises(UsageError, match="deny-list"):
        approve(world, "italy", "conte")


def test_rejecting_what_is_wanted_retracts_it_for_good(world: World) -> None:
    world.hear(observed("italy", "conte"))
    reject(world, "italy", "conte")
    world.hear(observed("italy", "draghi", revision=2, modified=START + DAY), after=9 * DAY)
    world.hear(observed("italy", "conte", revision=3, modified=START + 9 * DAY), after=9 * DAY)
    world.cycle(after=9 * DAY)
    assert world.fact("italy", "conte").status == "retracted"


def test_an_approval_does_not_spare_a_value_that_went_away_its_window(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    approve(world, "italy", "conte")
    world.hear(observed("italy", "draghi", revision=2, modified=START + DAY, at=START + DAY), after=DAY)
    world.cycle(after=2 * DAY)
    assert world.wanted() == {"italy": "Draghi"}
    at = world.clock()
    world.hear(observed("italy", "conte", revision=3, modified=at, at=at))
    assert world.status("italy", "conte") == "held settling"


def test_a_fact_that_failed_a_gate_stays_out_until_approved(world: World) -> None:
    world.hear(observed("italy", "conte"))
    with world.state.write() as tx:
        tx.move_facts([Move(world.fact("italy", "conte").id, "quarantined", "efficacy 0.1 < 0.9")], "judge")
    world.hear(observed("italy", says("conte", references=3), revision=2), after=HOUR)
    world.intake.readmit([("wd:italy", "wdt:P6")])
    assert world.fact("italy", "conte").status == "quarantined"
    assert world.fact("italy", "conte").reason == "efficacy 0.1 < 0.9"
    approve(world, "italy", "conte")
    assert world.wanted() == {"italy": "Conte"}


def test_an_approval_does_not_outlive_a_failed_gate(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    approve(world, "italy", "conte")
    with world.state.write() as tx:
        tx.move_facts([Move(world.fact("italy", "conte").id, "quarantined", "efficacy 0.1 < 0.9")], "judge")
    world.intake.readmit([("wd:italy", "wdt:P6")])
    assert world.wanted() == {}
    approve(world, "italy", "conte")
    assert world.wanted() == {"italy": "Conte"}


def test_a_flood_is_let_in_fact_by_fact(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_accepted=1))
    world.hear(observed("italy", "conte"))
    world.hear(observed("a_land", "ann"), observed("b_land", "bob"))
    assert world.status("b_land", "bob") == "quarantined volume"
    approve(world, "b_land", "bob")
    assert world.wanted() == {"italy": "Conte", "a_land": "Ann", "b_land": "Bob"}


def test_only_what_waits_can_be_approved_and_only_what_is_there(world: World) -> None:
    world.hear(observed("italy", "conte"))
    with pytest.raises(UsageError, match="wanted"):
        approve(world, "italy", "conte")
    with pytest.raises(NoSuchFact, match="no fact 99"):
        quarantine.approve(world.intake, 99, "", "ada")
    reject(world, "italy", "conte")
    with pytest.raises(UsageError, match="retracted already"):
        reject(world, "italy", "conte")


def test_a_decision_is_in_the_log_with_who_and_why(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    approve(world, "italy", "draghi")
    with world.state.read() as tx:
        (event,) = tx.events(kind="fact.approved")
    assert event.actor == "ada"
    assert "looked at it" in event.body
    assert world.state.audit.verify().ok
