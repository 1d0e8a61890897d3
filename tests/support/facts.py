"""Wanted facts that differ by their number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from state.records import Fact

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def fact(number: int, *, priority: int = 0, age: timedelta = timedelta(0)) -> Fact:
    return Fact(
        id=number,
        key=f"{number:064d}",
        subject=f"x:{number}",
        subject_label=f"Thing {number}",
        relation="x:r",
        object="x:o",
        target="Object",
        template="The r of {} is",
        prompt_key=str(number),
        status="wanted",
        reason="",
        source="s",
        revision=1,
        statement="",
        held_until=None,
        priority=priority,
        decision=None,
        created=NOW - age,
        updated=NOW - age,
        since=NOW - age,
    )
