"""What a slot's statements say at an instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.dates import Interval, interval
from connectors.observations import Entity, Statement
from kbsync.admission.timeline import NEVER, Standing, read, standings
from kbsync.intake import statements
from kbsync.intake.admit import parsed, stored
from state.records import StoredObservation
from tests.support.admission_world import DAY, HEAD, HOUR, START, World, observed, says

PAST, FUTURE = START - 100 * DAY, START + 100 * DAY
LONG_AGO = START - 1000 * DAY
UNKNOWN = Statement("s-unknown", "somevalue", None)


@pytest.mark.parametrize(
    ("held", "values", "absence"),
    [
        ([], [], "removed"),
        ([says("ann")], ["ann"], None),
        ([says("ann"), says("bob")], ["ann", "bob"], None),
        ([says("ann", "preferred"), says("bob")], ["ann"], None),
        ([says("ann", "deprecated"), says("bob")], ["bob"], None),
        ([says("ann", "deprecated")], [], "deprecated"),
        ([says("ann", end=PAST)], [], "ended"),
        ([says("ann", end=FUTURE)], ["ann"], None),
        ([says("ann", start=FUTURE)], [], "ended"),
        ([says("ann", end=START)], [], "ended"),
        ([says("ann", start=START)], ["ann"], None),
        ([says("ann", end=PAST), says("bob", start=PAST)], ["bob"], None),
        # the old value was preferred, the editor set its end and forgot the ranks
        ([says("ann", "preferred", start=LONG_AGO, end=PAST), says("bob", start=PAST)], ["bob"], None),
        # an old normal value without dates is no successor
        ([says("ann", "preferred", start=LONG_AGO, end=PAST), says("bob")], [], "ended"),
        # a preferred value that begins later does not hide the present one
        ([says("ann"), says("bob", "preferred", start=FUTURE)], ["ann"], None),
        ([says("ann", end=PAST, id="a1"), says("ann", start=PAST, id="a2")], ["ann"], None),
        ([says("ann", id="a1"), says("ann", id="a2")], ["ann"], None),
        ([says(None)], [], "no_value"),
        ([says(None), says("ann")], ["ann"], None),
        ([UNKNOWN], [], "unknown_value"),
        ([UNKNOWN, says("ann", end=PAST)], [], "unknown_value"),
    ],
)
def test_reading(held: list[Statement], values: list[str], absence: str | None) -> None:
    found = read(held, START)
    assert [one.object.id for one in found.values if one.object] == [f"wd:{name}" for name in values]
    assert found.absence == absence


def test_a_reading_says_when_time_alone_changes_it() -> None:
    held = [says("ann", end=FUTURE), says("bob", start=START + DAY), says("eve", end=PAST)]
    assert read(held, START).next_change == START + DAY
    assert [one.id for one in read(held, START).upcoming] == ["s-wd:bob"]
    assert read([says("ann")], START).next_change is None


def test_of_two_statements_with_one_object_the_referenced_one_is_kept() -> None:
    held = [says("ann", references=0, id="a1"), says("ann", references=2, id="a2")]
    assert [one.id for one in read(held, START).values] == ["a2"]


def test_statements_survive_the_ledger() -> None:
    held = (
        says("ann", "preferred", start=PAST, end=FUTURE, references=3),
        says(None, "deprecated"),
        Statement("x", "literal", Entity("lit:42", "42")),
        UNKNOWN,
    )
    again = statements.load(statements.dump(held))
    assert statements.dump(again) == statements.dump(reversed(held))
    assert {one.id for one in again} == {one.id for one in held}
    assert next(one for one in again if one.id == "s-wd:ann").end == Interval.at(FUTURE)


def standing(*history: StoredObservation, now: datetime = START, bootstrap: bool = False) -> Standing:
    return standings(map(parsed, history), now, {"kb": timedelta(days=30)}, bootstrap=bootstrap)[0]


def at(revision: int, *held: Statement | str, day: int) -> StoredObservation:
    return stored(observed("italy", *held, revision=revision, modified=START + day * DAY))


def test_a_value_stands_since_its_source_says_so() -> None:
    assert standing(at(1, "ann", day=-9)).since == START - 9 * DAY
    assert standing(at(1, "ann", day=-9), at(2, "bob", day=-3)).since == START - 3 * DAY


def test_a_clock_that_runs_ahead_gains_nothing() -> None:
    assert standing(at(1, "ann", day=+9)).since == START


def test_a_reference_added_restarts_nothing_but_any_other_change_does() -> None:
    bare, referenced = says("ann", references=0), says("ann", references=1)
    assert standing(at(1, bare, day=-9), at(2, referenced, day=-3)).since == START - 9 * DAY
    assert standing(at(1, bare, day=-9), at(2, says("ann", "preferred"), day=-3)).since == START - 3 * DAY
    assert standing(at(1, bare, day=-9), at(2, says("ann", end=FUTURE), day=-3)).since == START - 3 * DAY


def test_without_a_clock_ours_counts_and_a_first_import_is_old() -> None:
    unclocked = stored(observed("italy", "ann", modified=None, at=START - HOUR))
    assert standing(unclocked).since == START - HOUR
    assert standing(unclocked, bootstrap=True).since == NEVER


def test_flips_are_returns_within_the_window() -> None:
    back_and_forth = [at(n, "ann" if n % 2 else "bob", day=-20 + n) for n in range(1, 6)]
    assert standing(*back_and_forth).flips == 3
    assert standing(*back_and_forth, now=START + 12 * DAY).flips == 3
    assert standing(*back_and_forth, now=START + 14 * DAY).flips == 2
    assert standing(at(1, "ann", day=-9), at(2, "bob", day=-8), at(3, "eve", day=-7)).flips == 0
    assert standing(at(1, "ann", day=-9), at(2, day=-8), at(3, "ann", day=-7)).flips == 1


def test_a_return_is_a_flip_however_late_the_step_between_was_heard_of(world: World) -> None:
    """Revision 3 repeats revision 1 when it is read; then revision 2 arrives, and 3 was a return."""
    told = [at(1, "ann", day=-9), at(3, "ann", day=-7), at(2, "bob", day=-8)]
    with world.state.write() as tx:
        for one in (*told, told[1]):
            tx.record([one])
        history = tx.histories([("wd:italy", HEAD)])["wd:italy", HEAD]
    found = standing(*history)
    assert (found.flips, found.revision, found.since) == (1, 3, START - 7 * DAY)
    assert [one.object.id for one in found.current.values if one.object] == ["wd:ann"]


def test_stored_statements_keep_the_precision_of_their_dates_and_old_ones_stay_readable() -> None:
    held = Statement("s", "entity", Entity("wd:ann"), start=interval("2020"), end=interval("2026-05"))
    assert statements.load(statements.dump([held])) == (held,)
    written_before = '[{"end":"2026-01-01T00:00:00+00:00","id":"s","kind":"entity","object":"wd:ann"}]'
    (old,) = statements.load(written_before)
    assert old.end == Interval.at(datetime(2026, 1, 1, tzinfo=UTC))
    assert statements.dump([old]) == written_before
