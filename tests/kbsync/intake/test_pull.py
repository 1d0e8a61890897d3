"""Steps, cursors, restarts, re-reads, merges: what one cycle does to the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.observations import Poll
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from tests.support.admission_world import DAY, HEAD, HOUR, START, Script, World, entity, observed


class Broken(Script):
    """A source that answers some steps and then fails, as networks do."""

    good: int = 1

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        for number, step in enumerate(super().poll(cursor)):
            if number == self.good:
                raise ConnectionError("the source went away")
            yield step


def cursor(world: World) -> str | None:
    with world.state.read() as tx:
        return tx.cursor("kb")


def test_a_failed_poll_keeps_its_committed_steps_and_goes_on_from_there(world: World) -> None:
    source = Broken("kb")
    source.tell(observed("italy", "conte"))
    source.tell(observed("spain", "perez"))
    with pytest.raises(ConnectionError):
        world.intake.pull(source)
    assert cursor(world) == "1"
    assert world.wanted() == {"italy": "Conte"}
    world.intake.pull(source, bootstrap=True)
    assert cursor(world) == "2"
    assert world.wanted() == {"italy": "Conte", "spain": "Perez"}


def test_a_step_that_cannot_be_written_leaves_nothing_and_no_cursor(world: World) -> None:
    world.kb.tell(observed("italy", "conte"))
    with world.state.write() as tx:
        world.kb.steps.append(Poll((None,), "2"))  # type: ignore[arg-type]
        del tx
    with pytest.raises(AttributeError):
        world.cycle()
    assert cursor(world) == "1"


def test_a_second_cycle_has_nothing_to_do(world: World) -> None:
    world.hear(observed("italy", "conte"))
    events = world.events()
    report = world.cycle(after=HOUR)
    assert report.observations == 0
    assert report.verdicts == {}
    assert world.events() == events


def test_a_new_revision_without_a_change_admits_nothing_again(world: World) -> None:
    world.hear(observed("italy", "conte"))
    events = world.events()
    report = world.hear(observed("italy", "conte", revision=2), after=HOUR)
    assert (report.observations, report.new, report.verdicts) == (1, 0, {})
    assert world.events() == events


def test_a_fact_says_where_it_came_from(world: World) -> None:
    world.hear(observed("italy", "conte", revision=77))
    fact = world.fact("italy", "conte")
    assert (fact.source, fact.revision, fact.statement) == ("kb", 77, "s-wd:conte")
    assert fact.template == "The head of government of {} is"


def test_a_merged_subject_keeps_what_was_wanted(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.kb.tell(
        observed(entity("italia", "Italy"), "conte", revision=9), redirects=(("wd:italy", "wd:italia"),)
    )
    world.cycle(after=HOUR)
    assert world.wanted() == {"italia": "Conte"}
    assert world.status("italy", "conte") == "superseded redirected"
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italia": "Conte"}


def test_a_merge_that_arrives_before_the_new_subject_does(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.kb.tell(
        redirects=(("wd:italy", "wd:mid"), ("wd:mid", "wd:italia"), ("wd:a", "wd:b"), ("wd:b", "wd:a"))
    )
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italia": "Conte"}
    world.cycle(after=9 * DAY)
    world.hear(observed(entity("italia", "Italy"), "draghi", revision=9), after=9 * DAY)
    assert world.wanted() == {"italia": "Draghi"}


def test_two_subjects_merged_into_one_leave_one_fact(world: World) -> None:
    world.hear(observed("italy", "ann"), observed("italie", "bob"))
    world.kb.tell(redirects=(("wd:italy", "wd:italia"), ("wd:italie", "wd:italia")))
    world.cycle()
    assert list(world.wanted()) == ["italia"]


def test_reconciling_finds_what_polling_missed(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez"))
    world.kb.now["wd:italy", HEAD] = observed("italy", "draghi", revision=5)
    report = world.intake.reconcile(world.kb)
    assert report.observations == 2
    assert report.new == 1
    assert world.wanted() == {"italy": "Draghi", "spain": "Perez"}
    assert cursor(world) == "1"


def test_an_audit_re_reads_a_few_by_chance(world: World) -> None:
    world.hear(*(observed(f"land_{n}", f"head_{n}") for n in range(20)))
    assert world.intake.audit(world.kb, 5, seed=1).observations == 5
    assert world.intake.audit(world.kb, 50, seed=1).observations <= 20


def test_an_unknown_relation_is_kept_as_history_only(world: World) -> None:
    report = world.hear(observed("italy", "conte", relation="crm:boss"))
    assert report.new == 1
    assert world.facts() == ()


def test_a_report_adds_up(world: World) -> None:
    report = world.hear(
        observed("italy", "conte"), observed("spain", "a", "b"), observed("france", "m", modified=START)
    )
    assert report.verdicts == {"accept": 1, "hold": 1, "quarantine": 1}
    assert report.reasons == {"settled": 1, "settling": 1, "several_values": 1}
    assert [one.slot.subject for one in report.decisions if one.kind == "quarantine"] == ["wd:spain"]
    assert {(one.kind, one.code) for one in report.decisions} == {
        ("accept", "settled"),
        ("hold", "settling"),
        ("quarantine", "several_values"),
    }


OWN = {"crm:chief": {"label": "chief", "templates": ["The chief of {} is", "{} is led by"]}}


def test_what_was_read_before_its_relation_was_listed_is_learnt_as_soon_as_it_is(world: World) -> None:
    report = world.hear(observed("italy", "conte"), observed("acme", "ann", relation="crm:chief"))
    assert report.unlisted == {"crm:chief": 1}
    assert world.wanted() == {"italy": "Conte"}
    assert world.cycle().verdicts == {}
    world.catalogue = load_catalogue(OWN)
    assert world.cycle().verdicts == {"accept": 1}
    assert world.wanted() == {"italy": "Conte", "acme": "Ann"}
    assert world.cycle().verdicts == {}


def test_a_file_dropped_again_is_learnt_once_its_relation_is_listed(world: World) -> None:
    chief = observed("acme", "ann", relation="crm:chief")
    world.hear(chief)
    world.catalogue = load_catalogue(OWN)
    world.kb.tell(replace(chief, revision=2))
    assert world.intake.pull(world.kb).verdicts == {"accept": 1}


class Mute(Script):
    """Cannot be asked again, as a drop folder."""

    def snapshot(self, slots: object) -> Iterator[Poll]:
        return iter(())


def test_reconciling_a_source_that_cannot_be_asked_again_judges_what_it_said_by_the_rules_of_now(
    world: World,
) -> None:
    world.kb = Mute("kb")
    world.policy = Policy(living="review")
    world.hear(observed(entity("ann", living=True), "rome"), observed("italy", "conte"))
    assert world.wanted() == {"italy": "Conte"}
    world.policy = Policy(living="on")
    report = world.intake.reconcile(world.kb)
    assert world.wanted() == {"italy": "Conte", "ann": "Rome"}
    assert report.observations == 0
    assert world.intake.reconcile(world.kb).decisions == []


def test_nothing_is_a_bootstrap_that_nobody_asked_for(world: World) -> None:
    world.policy = Policy(max_accepted=2)
    world.kb.tell(
        *(observed(f"land_{n}", f"head_{n}") for n in range(5)), observed("fresh", "x", modified=None)
    )
    report = world.intake.pull(world.kb)
    assert (report.tripped, report.stopped) == (True, 3)
    assert len(world.wanted()) == 2
    assert world.status("fresh", "x") == "held settling"


def test_a_bootstrap_lets_in_what_a_first_sync_without_it_stopped_or_held(world: World) -> None:
    world.policy = Policy(max_accepted=2)
    land = [observed(f"land_{n}", f"head_{n}") for n in range(5)]
    world.kb.tell(*land, observed("undated", "x", modified=None), observed("dated", "y", modified=START))
    world.intake.pull(world.kb)
    world.intake.bootstrap_waiting()
    assert len(world.wanted()) == 6
    assert world.status("undated", "x") == "wanted settled"
    assert world.status("dated", "y") == "held settling", "its source says that it is new"


def test_a_value_that_has_changed_settles_in_a_bootstrap_too(world: World) -> None:
    world.kb.tell(observed("italy", "conte", modified=None))
    world.kb.tell(observed("italy", "draghi", revision=2, modified=None))
    world.intake.pull(world.kb)
    world.intake.bootstrap_waiting()
    assert world.wanted() == {}
    assert world.status("italy", "draghi") == "held settling"
