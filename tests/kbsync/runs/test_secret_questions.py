"""Which secret questions a candidate gets."""

from __future__ import annotations

from editing.spec import Case, FactSpec
from kbsync.deployment.probe_sets import lot
from kbsync.runs.secret_questions import CONTEXT, COUNTS, WITH_CONTEXT, draw

ORDER = lot(b"secret", "questions of 2-1")


def fact(number: int, **more: object) -> FactSpec:
    return FactSpec(
        id=str(number),
        prompt="The owner of {} is",
        subject=f"House {number}",
        target="Anna",
        known=False,
        paraphrases=(f"House {number} belongs to",),
        neighbours=(Case(f"The owner of Boat {number} is"),),
        **more,  # type: ignore[arg-type]
    )


def test_changed_facts_facts_of_live_and_what_no_edit_touches_are_asked() -> None:
    facts = [fact(1), fact(2, in_live=True), fact(3, in_live=True)]
    drawn = draw(facts, ["The owner of Mill is"], [Case("Who?")], ORDER).questions
    plain = {(one.kind, one.prompt) for one in drawn if not one.context}
    assert ("changed", "The owner of House 1 is") in plain
    assert ("changed", "House 1 belongs to") in plain
    assert ("changed", "The owner of Mill is") in plain, "what live states and this version does not"
    assert ("kept", "The owner of House 2 is") in plain
    assert ("untouched", "The owner of Boat 1 is") in plain
    assert ("untouched", "Who?") in plain
    long = [one for one in drawn if one.context]
    assert len(long) == WITH_CONTEXT
    assert all(one.context == ("The owner of House 1 is Anna.",) * CONTEXT for one in long)


def test_no_question_is_drawn_twice_and_no_kind_is_drawn_without_end() -> None:
    facts = [fact(number, in_live=number % 2 == 0) for number in range(200)]
    drawn = draw(facts, (), (), ORDER).questions
    plain = [one for one in drawn if not one.context]
    assert len({one.prompt for one in plain}) == len(plain) == sum(COUNTS.values())


def test_the_same_secret_draws_the_same_and_another_one_others() -> None:
    facts = [fact(number) for number in range(200)]
    first = draw(facts, (), (), ORDER)
    assert draw(list(reversed(facts)), (), (), ORDER) == first
    assert draw(facts, (), (), lot(b"another", "questions of 2-1")) != first
    assert draw(facts, (), (), lot(b"secret", "questions of 3-1")) != first


def test_a_view_without_anything_to_ask_has_no_questions() -> None:
    assert draw((), (), (), ORDER).questions == ()
