"""What admission must keep true whatever a source says and in whatever order it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from connectors.observations import Observation, Statement
from editing.folding import fold
from editing.requests import prompt_key
from kbsync.admission.policy import Policy
from kbsync.admission.rules import judge
from kbsync.admission.verdicts import Accept, Quarantine, Retract, Unchanged, Verdict
from kbsync.intake.admit import Admission
from tests.support.admission_world import CATALOGUE, DAY, HEAD, HOUR, START, Script, World, entity, observed
from tests.support.properties import drawing, editions

SUBJECTS = (entity("georgia"), entity("georgia_us", "Georgia"), entity("italy"))
"""Two of them make one prompt."""
OBJECTS = (entity("ann"), entity("bob"), entity("bobby", "Bob"), entity("eve"))
"""Two of them are called alike."""
SOURCES = ("kb", "crm")

EDITIONS = editions(quick=15, thorough=3_000)

days = st.integers(-400, 40).map(lambda day: START + day * DAY)


LABELS = ("Georgia", "Georgia (US)", "Italy")


@st.composite
def statements(draw: st.DrawFn, relabel: bool = False) -> tuple[Statement, ...]:
    """Up to three statements of one slot, of every rank and kind, with and without dates."""
    held = []
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(("entity", "entity", "entity", "novalue", "somevalue")))
        thing = draw(st.sampled_from(OBJECTS)) if kind == "entity" else None
        if thing is not None and relabel:
            thing = replace(thing, label=draw(st.sampled_from(("Ann", "Bob", "Eve"))))
        rank = draw(st.sampled_from(("normal", "normal", "preferred", "deprecated")))
        start, end = draw(st.none() | days), draw(st.none() | st.none() | days)
        held.append(Statement(f"s{number}", kind, thing, rank, start, end, draw(st.integers(0, 1))))
    return tuple(held)


@st.composite
def histories(draw: st.DrawFn, relabel: bool = False) -> list[Observation]:
    """Revisions of a few slots at two sources; each source's clock runs with its revisions.

    `relabel`: labels of subjects and objects change as well (they have no revisions: the last wins).
    """
    told = []
    for source in SOURCES:
        for subject in SUBJECTS:
            at = START - 60 * DAY
            for revision in range(1, draw(st.integers(0, 4)) + 1):
                at += draw(st.integers(1, 15)) * DAY
                about = replace(subject, label=draw(st.sampled_from(LABELS))) if relabel else subject
                told.append(
                    observed(
                        about,
                        *draw(statements(relabel)),
                        revision=revision,
                        modified=at,
                        at=START,
                        source=source,
                    )
                )
    return told


def play(world: World, told: list[Observation], cuts: list[int], check: Callable[[World], None]) -> None:
    """Delivers `told` in steps cut at `cuts`, each from the sources it concerns, checking after each."""
    sources = {name: Script(name) for name in SOURCES}
    edges = sorted({0, len(told), *(cut % (len(told) + 1) for cut in cuts)})
    for first, last in pairwise(edges):
        for name, source in sources.items():
            mine = [one for one in told[first:last] if one.source == name]
            if mine:
                source.tell(*mine)
        world.cycle(*sources.values(), after=HOUR, bootstrap=False)
        check(world)


def no_conflict(world: World) -> None:
    """Eqn. 5: one wanted object a slot, one wanted answer a rendered prompt."""
    slots: set[tuple[str, str]] = set()
    answers: dict[str, str] = {}
    for fact in world.facts():
        if fact.status != "wanted":
            continue
        slot = (fact.subject, fact.relation)
        assert slot not in slots
        slots.add(slot)
        assert fact.prompt_key == prompt_key(fact.prompt)
        assert answers.setdefault(fact.prompt_key, fold(fact.target)) == fold(fact.target)


def verdicts(world: World) -> dict[tuple[str, str], Verdict]:
    """What admission says of every slot by itself."""
    admission = Admission(world.policy, CATALOGUE)
    with world.state.read() as tx:
        slots = tx.slots((subject.id, HEAD) for subject in SUBJECTS)
        found = admission.histories(tx, slots, bootstrap=False)
    return {pair: judge(world.policy, history, world.clock()) for pair, history in found.items()}


@EDITIONS
def test_no_two_wanted_facts_conflict_after_any_step(open_world: Callable[..., World], examples: int) -> None:
    @drawing(examples)
    @given(told=histories(relabel=True), order=st.randoms(), cuts=st.lists(st.integers(0, 30), max_size=4))
    def holds(told, order, cuts) -> None:
        order.shuffle(told)
        world = open_world(policy=Policy(settle_without_reference="10d", settle_with_reference="2d"))
        play(world, told, cuts, no_conflict)
        for _ in range(3):
            world.clock.forward(20 * DAY)
            world.intake.release_due()
            no_conflict(world)
        assert world.state.audit.verify().ok

    holds()


@EDITIONS
def test_a_step_delivered_twice_equals_one_delivered_once(
    open_world: Callable[..., World], examples: int
) -> None:
    """At-least-once delivery: the step whose acknowledgement was lost comes again."""

    @drawing(examples)
    @given(told=histories(), order=st.randoms())
    def holds(told, order) -> None:
        order.shuffle(told)
        world = open_world()
        for observation in told:
            source = Script(observation.source)
            source.tell(observation)
            for time in range(2):
                world.intake.apply(source.name, source.steps[0])
                if time == 0:
                    before, events = world.facts(), world.events()
            assert world.facts() == before
            assert world.events() == events
        after = world.facts()
        world.intake.readmit((subject.id, HEAD) for subject in SUBJECTS)
        assert world.facts() == after

    holds()


def test_a_value_that_a_homonym_withdraws_and_no_source_states_is_history_at_once(
    open_world: Callable[[], World],
) -> None:
    """It is not left to a reviewer until the slot is judged again."""
    world, source = open_world(), Script("crm")
    said = [
        (SUBJECTS[0], 1, OBJECTS[3]),
        (SUBJECTS[1], 1, OBJECTS[3]),
        (SUBJECTS[1], 2, OBJECTS[0]),  # the same prompt, another answer
    ]
    for subject, revision, thing in said:
        statement = Statement("s0", "entity", thing, "normal", None, None, 0)
        at = START - (60 - revision) * DAY
        source.tell(observed(subject, statement, revision=revision, modified=at, at=START, source="crm"))
        world.intake.apply("crm", source.steps[-1])
    statuses = {(fact.subject, fact.object): fact.status for fact in world.facts()}
    assert statuses == {
        ("wd:georgia", "wd:eve"): "quarantined",
        ("wd:georgia_us", "wd:eve"): "superseded",
        ("wd:georgia_us", "wd:ann"): "quarantined",
    }
    before = world.facts()
    world.intake.readmit((subject.id, HEAD) for subject in SUBJECTS)
    assert world.facts() == before


def test_a_homonyms_reason_names_what_its_rival_says_now_and_not_what_was_wanted_before(
    open_world: Callable[[], World],
) -> None:
    world = open_world()
    said = [
        (SUBJECTS[0], 1, OBJECTS[3], 60),
        (SUBJECTS[0], 2, OBJECTS[0], 0),  # just changed: it settles while the older value stays wanted
        (SUBJECTS[1], 1, OBJECTS[1], 60),  # the same prompt, another answer
    ]
    for subject, revision, thing, days_ago in said:
        source = Script("crm")
        statement = Statement("s0", "entity", thing, "normal", None, None, 0)
        at = START - days_ago * DAY
        source.tell(observed(subject, statement, revision=revision, modified=at, at=START, source="crm"))
        world.intake.apply("crm", source.steps[-1])
    bob = world.fact("georgia_us", "bob")
    assert bob.status == "quarantined"
    assert bob.reason.endswith("(wd:georgia wdt:P6 says ann)")
    before = world.facts()
    world.intake.apply("crm", source.steps[-1])
    assert world.facts() == before


@EDITIONS
def test_order_of_arrival_does_not_change_what_is_current_in_the_end(
    open_world: Callable[..., World], examples: int
) -> None:
    @drawing(examples)
    @given(told=histories(), order=st.randoms(), cuts=st.lists(st.integers(0, 30), max_size=4))
    def holds(told, order, cuts) -> None:
        ordered, shuffled = open_world(), open_world()
        play(ordered, told, [], lambda _: None)
        mixed = list(told)
        order.shuffle(mixed)
        play(shuffled, mixed, cuts, lambda _: None)
        for world in (ordered, shuffled):
            world.clock.now = START + 500 * DAY
            world.intake.readmit((subject.id, HEAD) for subject in SUBJECTS)
            world.clock.forward(10 * DAY)
            world.intake.release_due()
        with ordered.state.read() as one, shuffled.state.read() as other:
            pairs = [(subject.id, HEAD) for subject in SUBJECTS]
            assert _said(one.current(pairs)) == _said(other.current(pairs))
            assert _said(one.histories(pairs)) == _said(other.histories(pairs))
        first, second = verdicts(ordered), verdicts(shuffled)
        for pair, verdict in first.items():
            assert _settled(verdict) == _settled(second[pair])
        if all(_settled(verdict) for verdict in first.values()):
            assert ordered.wanted() == shuffled.wanted()

    holds()


def _said(told: dict) -> dict:
    return {
        pair: [(one.source, one.revision, one.modified, one.statements) for one in ones]
        for pair, ones in told.items()
    }


def _settled(verdict: Verdict) -> bool:
    """Whether the verdict alone says what is wanted (a doubt leaves the last trusted value in place)."""
    if isinstance(verdict, Quarantine):
        return verdict.withdraw
    return isinstance(verdict, Accept | Retract) or (
        isinstance(verdict, Unchanged)
        and verdict.reason.code in ("same", "nothing", "unread", "same_meaning")
    )


@EDITIONS
def test_both_homonyms_are_quarantined_whichever_came_first(
    open_world: Callable[..., World], examples: int
) -> None:
    @drawing(examples)
    @given(
        first=st.sampled_from((0, 1)),
        gap=st.integers(0, 100).map(lambda hours: timedelta(hours=hours)),
        together=st.booleans(),
    )
    def holds(first, gap, together) -> None:
        world = open_world()
        sides = [observed(SUBJECTS[0], "ann"), observed(SUBJECTS[1], "eve")]
        sides = [sides[first], sides[1 - first]]
        if together:
            world.hear(*sides)
        else:
            world.hear(sides[0])
            world.hear(sides[1], after=gap)
        assert world.wanted() == {}
        assert world.status("georgia", "ann") == "quarantined homonym"
        assert world.status("georgia_us", "eve") == "quarantined homonym"

    holds()
