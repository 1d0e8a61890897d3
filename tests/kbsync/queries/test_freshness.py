"""From a source's revision to served and answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbsync.queries.freshness import figures, freshness
from kbsync.queries.status import overview
from kbsync.settings.operation import FreshnessSettings
from tests.support.ledgers import said
from tests.support.promoted import Place

HOUR = timedelta(hours=1)
SETTINGS = FreshnessSettings(objective=timedelta(hours=24), target=0.9)


def test_quantiles_share_and_budget() -> None:
    took = [HOUR * number for number in range(1, 21)]
    found = figures("crm", took, SETTINGS)
    assert (found.facts, found.p50, found.p95) == (20, 10 * HOUR, 19 * HOUR)
    assert (found.within, found.budget) == (1.0, 1.0)
    found = figures("crm", [*took[:19], 30 * HOUR], SETTINGS)
    assert (found.within, found.budget) == (0.95, pytest.approx(0.5))
    assert figures("crm", [HOUR, 30 * HOUR], SETTINGS).budget == pytest.approx(-4.0)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_a_quantile_is_one_of_the_values_and_the_later_is_not_smaller(seconds: list[int]) -> None:
    took = [timedelta(seconds=one) for one in seconds]
    found = figures("crm", took, SETTINGS)
    assert found.p50 in took
    assert found.p50 <= found.p95 <= max(took)
    assert found.budget <= 1


@pytest.mark.parametrize(("skew", "expected"), [(-3 * HOUR, 3 * HOUR), (5 * HOUR, timedelta(0))])
def test_a_fact_counts_from_its_revision_and_one_in_the_future_from_its_reading(
    tmp_path, skew: timedelta, expected: timedelta
) -> None:
    place = Place(tmp_path)
    app = place.application()
    run = place.staged(italy="Conte")
    at = app.now()
    with app.state.write() as tx:
        (one,) = [fact for fact in tx.wanted() if fact.subject == "italy"]
        stated = said("italy", observed=at, source=one.source, relation=one.relation, revision=one.revision)
        tx.record([replace(stated, modified=at + skew)])
        tx.emit("run.scope", "test", {"new": [one.id]}, run=run.id)
    assert place.drive(run).state == "deployed"
    with app.state.read() as tx:
        (found,) = freshness(app, tx)
    assert (found.source, found.facts) == (one.source, 1)
    assert expected <= found.p95 <= expected + timedelta(minutes=5)
    assert f"freshness {one.source}" in dict(overview(app).lines())
    app.close()
