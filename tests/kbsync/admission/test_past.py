"""What a slot's value was at an earlier instant, from sources that date their statements and from those that do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.dates import Interval, interval
from connectors.observations import Entity, Statement
from kbsync.admission.history import History, Stated
from kbsync.admission.past import as_of
from kbsync.admission.policy import Policy
from kbsync.admission.rules import admit
from kbsync.admission.verdicts import Accept
from kbsync.catalogue.relations import Relation
from state.records import Slot, StoredEntity

SLOT = Slot("crm:mill", "crm:owner", "Old Mill", "The owner of {} is", "the owner of old mill is")
NAMED = {"crm:mill": StoredEntity("crm:mill", "Old Mill")}
RELATION = Relation("crm:owner", "owner", True, "thing", ("The owner of {} is",))


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def held(owner: str, start: Interval | None = None, end: Interval | None = None) -> Statement:
    return Statement(owner, "literal", Entity(f"lit:{owner}"), "normal", start, end, 0)


def stated(revision: int, at: str, *statements: Statement) -> Stated:
    """Read on `at`, when the source also says that it was changed."""
    return Stated("crm", revision, day(at), day(at), statements)


def owner(at: str, *observations: Stated) -> str | None:
    """The owner at `at`, as admission takes it from these observations, oldest first."""
    history = as_of(History(SLOT, RELATION, observations, entities=NAMED), day(at))
    verdict = admit(Policy(living="on"), history, (), day(at))
    return verdict.value.target if isinstance(verdict, Accept) else None


UNDATED = (
    stated(1, "2024-01-01", held("Anna")),
    stated(2, "2024-03-01", held("Bob")),
    stated(3, "2024-05-01"),
)


@pytest.mark.parametrize(
    ("at", "who"),
    [
        ("2020-01-01", "Anna"),
        ("2024-02-28", "Anna"),
        ("2024-03-01", "Bob"),
        ("2024-04-30", "Bob"),
        ("2024-05-01", None),
    ],
)
def test_a_value_without_dates_counts_from_the_revision_that_first_stated_it(
    at: str, who: str | None
) -> None:
    assert owner(at, *UNDATED) == who


@pytest.mark.parametrize(
    ("at", "who"),
    [("2024-01-31", "Anna"), ("2024-02-01", "Bob"), ("2026-01-01", "Bob"), ("2020-01-01", "Anna")],
)
def test_dates_of_the_newest_revision_correct_what_was_stated_before(at: str, who: str) -> None:
    change = interval("2024-02-01")
    observations = (
        stated(1, "2023-01-01", held("Mallory")),
        stated(2, "2025-01-01", held("Anna", end=change), held("Bob", start=change)),
    )
    assert owner(at, *observations) == who


def test_a_deleted_subject_has_the_past_that_was_stated_before() -> None:
    observations = (
        stated(1, "2023-01-01", held("Anna", end=interval("2023-06-01"))),
        stated(2, "2024-01-01"),
    )
    assert owner("2023-02-01", *observations) == "Anna"
    assert owner("2023-07-01", *observations) is None
    assert owner("2024-02-01", *observations) is None
