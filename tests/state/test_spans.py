"""The history of a slot is a set of revisions, run-length encoded."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from state.records import GONE
from state.revision_spans import REPEATS, Numbering, Revision, Span, dump_repeats, insert, load_repeats
from tests.support.ledgers import START

words = st.lists(st.sampled_from("aaab"), min_size=1, max_size=REPEATS + 1)
"""What revisions 0, 1, 2 … said; mostly the same, as in life."""


def reading(revision: int, *, dated: bool = True) -> Revision:
    at = START + timedelta(hours=revision, microseconds=revision)
    return Revision(revision, at if dated else None, at)


def encoded(said: str | list[str]) -> list[tuple[str, list[int]]]:
    """The run-length encoding of revisions 0, 1, 2 … by hand."""
    spans: list[tuple[str, list[int]]] = []
    for revision, word in enumerate(said):
        if spans and spans[-1][0] == word:
            spans[-1][1].append(revision)
        else:
            spans.append((word, [revision]))
    return spans


@settings(max_examples=300, deadline=None)
@given(said=words, data=st.data())
def test_any_order_with_any_repetition_ends_in_the_run_length_encoding(
    said: list[str], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.integers(0, len(said) - 1), max_size=6))
    spans: list[Span] = []
    for revision in data.draw(st.permutations([*range(len(said)), *again])):
        insert(spans, said[revision], reading(revision))
    assert [(span.statements, [told.number for told in span.revisions]) for span in spans] == encoded(said)
    for revision, word in enumerate(said):
        assert insert(spans, word, reading(revision)) == "duplicate"
    assert [(span.statements, [told.number for told in span.revisions]) for span in spans] == encoded(said)


def test_beyond_what_is_remembered_a_repeat_is_forgotten_and_still_a_duplicate() -> None:
    spans: list[Span] = []
    for revision in range(3 * REPEATS):
        insert(spans, "a", reading(revision))
    (span,) = spans
    assert [told.number for told in span.revisions] == [0, *range(2 * REPEATS, 3 * REPEATS)]
    span.changed = False
    assert insert(spans, "a", reading(REPEATS)) == "duplicate"
    assert not span.changed


@given(st.lists(st.tuples(st.integers(0, 2**53), st.booleans()), max_size=4))
def test_repeats_are_stored_to_the_microsecond(told: list[tuple[int, bool]]) -> None:
    repeats = [reading(revision % 10_000, dated=dated) for revision, dated in told]
    assert load_repeats(dump_repeats(repeats)) == repeats


def test_what_is_gone_comes_back_under_its_old_number_and_older_ones_stay_late() -> None:
    numbering = Numbering()
    assert [numbering.number(n) for n in (90, 100, GONE, GONE)] == [90, 100, 101, 101]
    assert numbering.number(90) == 90, "a lagging replica brings nobody back"
    assert numbering.number(100) == 102
    assert numbering.number(100) == 102
    assert [numbering.number(n) for n in (101, 102)] == [103, 104], "and the next real ones are newer"
    assert [numbering.number(n) for n in (GONE, 102, GONE, 102)] == [105, 106, 107, 108]


def test_what_comes_back_edited_needs_no_lift() -> None:
    numbering = Numbering()
    assert [numbering.number(n) for n in (100, GONE, 300, 100, GONE, 300)] == [100, 101, 300, 100, 301, 302]
