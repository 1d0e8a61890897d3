"""A corrected template: new facts use it, wanted ones keep theirs until they are moved."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text

from editing.requests import prompt_key
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.intake import quarantine, rendering
from kbsync.intake.retemplate import OutdatedTemplate, outdated, retemplate
from state.fact_queries import previous_value
from tests.support.admission_world import DAY, HEAD, HOUR, START, World, entity, observed

OLD = "The head of government of {} is"
NEW = "The present head of government of {} is"


def corrected(template: str = NEW) -> Catalogue:
    return load_catalogue({HEAD: {"templates": [template, OLD, "{} is governed by"]}})


def templates(world: World) -> dict[str, str]:
    return {f.subject.removeprefix("wd:"): f.template for f in world.facts() if f.status == "wanted"}


def cycle(world: World) -> None:
    """As a cycle of the daemon begins."""
    world.intake.follow_catalogue()
    world.cycle()


def test_new_facts_take_the_new_template_and_wanted_ones_keep_the_old(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez"))
    events = world.events()
    world.catalogue = corrected()
    cycle(world)
    assert templates(world) == {"italy": OLD, "spain": OLD}
    world.hear(observed("italy", "draghi", revision=2, modified=START - 9 * DAY), observed("malta", "abela"))
    assert templates(world) == {"italy": NEW, "spain": OLD, "malta": NEW}
    assert world.fact("italy", "draghi").prompt_key == prompt_key(NEW.replace("{}", "Italy"))
    assert world.events() > events
    before = world.events()
    cycle(world)
    assert world.events() == before, "a template that has not changed costs nothing"


def test_a_value_that_comes_back_comes_back_with_the_new_template(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", "draghi", revision=2, modified=START - 9 * DAY))
    world.catalogue = corrected()
    cycle(world)
    world.hear(observed("italy", "conte", revision=3, modified=START - 8 * DAY))
    assert templates(world) == {"italy": NEW}


def test_what_is_held_settles_in_its_time_in_the_new_template(world: World) -> None:
    world.hear(observed("italy", "conte", modified=START - HOUR))
    until = world.fact("italy", "conte").held_until
    world.catalogue = corrected()
    cycle(world)
    (held,) = [fact for fact in world.facts() if fact.status == "held"]
    assert (held.template, held.held_until) == (NEW, until)
    assert [f.reason_code for f in world.facts() if f.status == "superseded"] == ["respelled"]
    world.cycle(after=DAY)
    assert templates(world) == {"italy": NEW}
    with world.state.read() as tx:
        facts = tx.facts_of([("wd:italy", HEAD)])["wd:italy", HEAD]
    assert previous_value(facts[-1], facts) is None, "the slot held nothing else before"


def test_a_label_that_settles_goes_on_settling(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed(entity("italy", "Italia"), "conte", revision=2), after=HOUR)
    (held,) = [fact for fact in world.facts() if fact.status == "held"]
    world.catalogue = corrected()
    world.clock.forward(HOUR)
    cycle(world)
    (again,) = [fact for fact in world.facts() if fact.status == "held"]
    assert (again.template, again.held_until) == (NEW, held.held_until)


def test_what_waits_for_a_reviewer_waits_on_and_a_decision_holds(world: World) -> None:
    world.policy = Policy(max_accepted=1, living="review")
    world.kb.tell(
        observed("italy", "conte"),
        observed("spain", "perez"),
        observed(entity("ann", living=True), "bob"),
        observed("malta", "a", "b"),
    )
    world.cycle(bootstrap=False)
    quarantine_status = {f.subject: f.reason_code for f in world.facts() if f.status == "quarantined"}
    world.catalogue = corrected()
    cycle(world)
    waiting = {f.subject: f.reason_code for f in world.facts() if f.status == "quarantined"}
    assert waiting == quarantine_status
    assert len(world.wanted()) == 1
    (stopped,) = [f for f in world.facts() if f.status == "quarantined" and f.reason_code == "volume"]
    quarantine.approve(world.intake, stopped.id, "looks right", "ann")
    cycle(world)
    assert len(world.wanted()) == 2


def test_an_approval_is_of_the_value_and_not_of_its_template(world: World) -> None:
    world.hear(observed("malta", "a", "b"))
    world.catalogue = corrected()
    quarantine.approve(world.intake, world.fact("malta", "a").id, "a it is", "ann")
    assert templates(world) == {"malta": OLD}, "the slot does not follow before a cycle begins"
    world.hear(observed("malta", revision=2, modified=START - 9 * DAY))
    cycle(world)
    world.hear(observed("malta", "a", "b", revision=3, modified=START - 8 * DAY))
    assert templates(world) == {"malta": NEW}


def test_a_conflict_outlives_the_template_it_was_found_in(world: World) -> None:
    world.hear(observed(entity("one", "Rome"), "ann"), observed(entity("two", "Rome"), "bob"))
    assert world.wanted() == {}
    world.catalogue = corrected()
    cycle(world)
    assert world.wanted() == {}
    assert world.status("one", "ann") == world.status("two", "bob") == "quarantined homonym"


def test_a_new_template_can_make_two_slots_one_prompt(world: World) -> None:
    world.hear(
        observed("italy", "rome", relation="wdt:P36"), observed("italy", "conte"), observed("spain", "perez")
    )
    capital = world.catalogue["wdt:P36"].template
    world.catalogue = corrected(capital)
    cycle(world)
    assert {f.object for f in world.facts() if f.status == "wanted"} == {"wd:perez"}


def test_a_process_that_is_killed_between_rendering_and_admission_loses_no_conflict(world: World) -> None:
    world.hear(
        observed("italy", "rome", relation="wdt:P36"), observed("italy", "conte"), observed("spain", "perez")
    )
    world.catalogue = corrected(world.catalogue["wdt:P36"].template)
    rendering.follow_catalogue(world.state, world.state.write, world.catalogue, 1)
    cycle(world)  # another process
    assert {f.object for f in world.facts() if f.status == "wanted"} == {"wd:perez"}


def test_prompt_keys_of_another_folding_are_computed_again(world: World) -> None:
    """Until now an invisible mark made another prompt: both sides could be wanted."""
    world.hear(observed(entity("acme", "Acme Holding"), "bob"), observed(entity("evil", "Evil"), "mallory"))
    with world.state.write() as tx:
        for table in ("slots", "facts"):
            tx.connection.execute(
                text(
                    f"UPDATE {table} SET subject_label = :new, prompt_key = :key WHERE subject_label = 'Evil'"
                ),
                {"new": "Acme\u034f Holding", "key": hashlib.sha256(b"acme").hexdigest()},
            )
        tx.connection.execute(text("UPDATE entities SET label = 'Acme\u034f Holding' WHERE label = 'Evil'"))
        tx.connection.execute(text("DELETE FROM renderings"))
    assert len(world.wanted()) == 2
    cycle(world)
    keys = {fact.prompt_key for fact in world.facts()}
    assert keys == {prompt_key("The head of government of Acme Holding is")}
    assert world.wanted() == {}
    assert world.status("acme", "bob") == "quarantined homonym"


# kbsync retemplate


def test_wanted_facts_are_moved_when_somebody_asks_for_it(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez", modified=START - DAY))
    before = {fact.subject: fact for fact in world.facts()}
    world.catalogue = corrected()
    world.clock.forward(DAY)
    cycle(world)
    with world.state.read() as tx:
        assert outdated(tx, world.catalogue) == [OutdatedTemplate(HEAD, OLD, NEW, 2)]
        assert outdated(tx, world.catalogue, "wdt:P36") == []
    assert retemplate(world.intake, None, "it said nothing of now", "ann") == 2
    assert templates(world) == {"italy": NEW, "spain": NEW}
    for fact in world.facts():
        old = before[fact.subject]
        assert fact.since == (old.since if fact.status == "wanted" else world.clock())
    assert {f.reason_code for f in world.facts()} == {"retemplated"}
    with world.state.read() as tx:
        facts = tx.facts_of([("wd:italy", HEAD)])["wd:italy", HEAD]
        assert outdated(tx, world.catalogue) == []
    assert previous_value(facts[-1], facts) is None, "the same value is no former value"
    events = world.events()
    world.cycle(after=DAY)
    assert retemplate(world.intake, None, "again", "ann") == 0
    assert world.events() == events


@pytest.mark.parametrize("page", [1, 2])
def test_moving_works_page_by_page(world: World, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kbsync.intake.retemplate.PAGE", page)
    world.hear(*(observed(f"land_{n}", f"head_{n}") for n in range(5)))
    world.catalogue = corrected()
    cycle(world)
    assert retemplate(world.intake, HEAD, "r", "ann") == 5
    assert set(templates(world).values()) == {NEW}


KEEPER = "crm:keeper"


def two_relations(head: str, keeper: str) -> Catalogue:
    rest = ["{} is governed by", "{} is kept by"]
    return load_catalogue(
        {
            HEAD: {"templates": [head, *rest]},
            KEEPER: {"label": "keeper", "templates": [keeper, *rest]},
        }
    )


@pytest.mark.parametrize("corrects", ["its own", "the other"])
def test_a_template_that_ends_a_conflict_releases_both_sides(world: World, corrects: str) -> None:
    """Two relations ask about Italy in the same words, by mistake."""
    world.catalogue = two_relations(OLD, OLD)
    world.hear(observed("italy", "conte"), observed("italy", "fico", relation=KEEPER))
    assert {fact.reason_code for fact in world.facts()} == {"homonym"}
    world.catalogue = two_relations(*((NEW, OLD) if corrects == "its own" else (OLD, "The keeper of {} is")))
    cycle(world)
    assert {fact.target: fact.status for fact in world.facts() if fact.status != "superseded"} == {
        "Conte": "wanted",
        "Fico": "wanted",
    }


def test_moving_a_fact_to_another_prompt_releases_what_its_old_prompt_kept_out(world: World) -> None:
    world.catalogue = two_relations(OLD, "The keeper of {} is")
    world.hear(observed("italy", "conte"))
    world.catalogue = two_relations(NEW, OLD)
    cycle(world)
    world.hear(observed("italy", "fico", relation=KEEPER))
    quarantined = {fact.target for fact in world.facts() if fact.status == "quarantined"}
    retemplate(world.intake, None, "say what is meant", "ada")
    assert {fact.target for fact in world.facts() if fact.status == "wanted"} == {"Conte", "Fico"}, (
        quarantined
    )
