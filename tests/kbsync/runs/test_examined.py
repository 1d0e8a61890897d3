"""Every fact in live is examined again within a number of runs, whatever else comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from editing.spec import FactSpec
from kbsync.runs.examined import with_examined
from tests.support.properties import drawing, editions


def facts(ids: range, *, in_live: bool = True) -> list[FactSpec]:
    return [FactSpec(str(id), "{} is", f"s{id}", "x", in_live=in_live) for id in ids]


@editions(quick=20, thorough=1_000)
def test_consecutive_runs_examine_every_fact_that_stays(examples: int) -> None:
    @drawing(examples)
    @given(every=st.integers(1, 30), first=st.integers(1, 10_000), growth=st.integers(0, 3))
    def holds(every: int, first: int, growth: int) -> None:
        seen: set[str] = set()
        for n, run in enumerate(range(first, first + every)):
            view = facts(range(50 + n * growth))
            seen |= {fact.id for fact in with_examined(view, run, every) if fact.examined}
        assert seen >= {str(id) for id in range(50)}

    holds()


def test_the_parts_are_of_similar_size_and_differ_from_run_to_run() -> None:
    parts = [[f.id for f in with_examined(facts(range(2_000)), run, 20) if f.examined] for run in (7, 8)]
    assert all(60 <= len(part) <= 140 for part in parts)
    assert not set(parts[0]) & set(parts[1])


def test_new_facts_are_not_marked_and_none_is_where_the_settings_say_so() -> None:
    assert not any(fact.examined for fact in with_examined(facts(range(50), in_live=False), 1, 1))
    assert not any(fact.examined for fact in with_examined(facts(range(50)), 1, 0))
