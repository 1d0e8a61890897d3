"""A clock that was years ahead, once: what it left in the ledger counts as written now."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kbsync.service.cycle import CycleReport, cycle
from state import State
from state.errors import LeaseHeld
from tests.support.micro import Micro, make
from tests.support.promoted import Place
from tests.support.replay import check
from tests.support.scripted import Scripted
from tests.support.stand_ins import Sglang, listening

YEARS = timedelta(days=3650)


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    made = make(tmp_path / "world", thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")
    text = made.home.config.read_text()
    made.home.config.write_text(
        text.replace("settle_without_reference = 0", "settle_without_reference = '2d'")
    )
    return made


def synced(micro: Micro, *, asked: bool = True) -> CycleReport:
    with micro.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", asked=asked, worker=Scripted())
        check(app.state)
    return report


def held(micro: Micro) -> list[datetime | None]:
    with micro.application() as app, app.state.read() as tx:
        return [fact.held_until for fact in tx.facts(status="held")]


def test_a_fact_that_was_read_under_a_clock_ten_years_ahead_settles_in_its_time(micro: Micro) -> None:
    right = micro.now
    micro.now = right + YEARS
    micro.say({"Blue House": "Anna"}, name="1")
    synced(micro)
    assert held(micro) == [micro.now + timedelta(days=2)]
    micro.now = right + timedelta(hours=1)
    synced(micro)
    assert held(micro) == [micro.now + timedelta(days=2)], "it counts as read now"
    for _ in range(3):
        micro.now += timedelta(hours=15)
        synced(micro)
    assert held(micro) == [right + timedelta(hours=1, days=2)], "looking at it again does not put it off"
    micro.now += timedelta(hours=15)
    assert [run.state for run in synced(micro).runs] == ["deployed"]


def test_a_view_that_failed_under_a_clock_ahead_is_tried_again_in_its_time(micro: Micro) -> None:
    text = micro.home.config.read_text().replace(
        "settle_without_reference = '2d'", "settle_without_reference = 0"
    )
    micro.home.config.write_text(text.replace("[plan]\n", "[plan]\nmin_pending = 1\n"))
    right = micro.now
    micro.say({"Blue House": "Anna"})
    micro.now = right + YEARS
    with micro.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", asked=False, worker=Failing())
    assert [run.state for run in report.runs] == ["failed"]
    micro.now = right + timedelta(hours=1)
    assert "next try after" in synced(micro, asked=False).nothing
    micro.now += timedelta(hours=1)
    assert [run.state for run in synced(micro, asked=False).runs] == ["deployed"]


def test_what_only_a_clock_ahead_decided_is_decided_again(micro: Micro) -> None:
    """A value that ends in 2030 is retracted by a clock of ten years later, and wanted again after that."""
    text = micro.home.config.read_text()
    micro.home.config.write_text(
        text.replace("settle_without_reference = '2d'", "settle_without_reference = 0")
    )
    right = micro.now
    row = {"subject": "house", "subject_label": "House", "relation": "owner", "object": "Anna"}
    end = (right + YEARS / 2).isoformat()
    (micro.drop / "1.jsonl").write_text(json.dumps({**row, "end": end}) + "\n", encoding="utf-8")
    synced(micro)
    micro.now = right + YEARS
    synced(micro)
    assert statuses(micro) == ["retracted"]
    micro.now = right + timedelta(hours=1)
    synced(micro)
    assert statuses(micro) == ["wanted"]


def statuses(micro: Micro) -> list[str]:
    with micro.application() as app, app.state.read() as tx:
        return [fact.status for fact in tx.facts()]


class Failing(Scripted):
    """Answers questions, and fails at every build."""

    def execute(self, spec: Path, *rest: object) -> object:  # type: ignore[override]
        from editing.spec import BuildSpec
        from kbsync.executor import WorkerFailed

        if BuildSpec.read(spec).mode == "build":
            raise WorkerFailed("data", "it was to fail", retry=False)
        return super().execute(spec)


def test_a_review_that_began_under_a_clock_ahead_keeps_its_length(micro: Micro) -> None:
    text = micro.home.config.read_text().replace(
        "settle_without_reference = '2d'", "settle_without_reference = 0"
    )
    micro.home.config.write_text(f"{text}\n[review]\nrequired = true\ntimeout = '2d'\n")
    right = micro.now
    micro.say({"Blue House": "Anna"})
    micro.now = right + YEARS
    synced(micro)
    micro.now = right + timedelta(hours=1)
    (run,) = synced(micro).runs
    assert run.state == "awaiting_review"
    assert run.review_until == micro.now + timedelta(days=2)
    micro.now += timedelta(days=2)
    assert synced(micro).runs[0].state == "rejected"


def test_a_hook_that_failed_under_a_clock_ahead_is_notified_again_in_its_time(tmp_path: Path) -> None:
    with listening(Sglang()) as server:
        assert isinstance(server, Sglang)
        hooks = f"[deploy.prod]\nkind = 'sglang'\nurl = '{server.url}'\nsettle = 0\nbackoff = '1m'\n"
        place = Place(tmp_path, hooks)
        right = place.clock.now
        place.clock.now = right + YEARS
        server.faults["/update_weights_from_disk"] = [(400, {"success": False})]
        assert place.promoted(Q1="Q10").state == "promoted"
        place.clock.now = right
        place.later(minutes=1)
        assert place.last.state == "failed", "it counts as failed now"
        place.later(minutes=1)
        assert place.last.state == "deployed"


NOT_SET = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)


def lead_for_a_moment(micro: Micro) -> None:
    """As a daemon does that starts, or whose clock is set back: what lies in the future is corrected."""
    with micro.application() as app, app.leading() as leadership:
        leadership.correct_instants()


def test_a_daemon_that_starts_in_1970_does_not_shorten_what_a_fact_has_to_wait(micro: Micro) -> None:
    right = micro.now
    micro.say({"Blue House": "Anna"})
    synced(micro)
    micro.now = NOT_SET
    lead_for_a_moment(micro)
    micro.now = right + timedelta(hours=1)
    synced(micro)
    assert held(micro) == [right + timedelta(days=2)]


def test_a_daemon_that_starts_in_1970_does_not_shorten_a_review(micro: Micro) -> None:
    text = micro.home.config.read_text().replace(
        "settle_without_reference = '2d'", "settle_without_reference = 0"
    )
    micro.home.config.write_text(f"{text}\n[review]\nrequired = true\ntimeout = '2d'\n")
    right = micro.now
    micro.say({"Blue House": "Anna"})
    assert [run.state for run in synced(micro).runs] == ["awaiting_review"]
    micro.now = NOT_SET
    lead_for_a_moment(micro)
    micro.now = right + timedelta(hours=1)
    (run,) = synced(micro).runs
    assert (run.state, run.review_until) == ("awaiting_review", right + timedelta(days=2))


def test_a_lease_of_a_clock_ten_years_ahead_ends_as_soon_as_any_other(tmp_path: Path) -> None:
    now = datetime(2036, 1, 1, tzinfo=UTC)
    state = State.open(f"sqlite:///{tmp_path / 'ledger.db'}", clock=lambda: now)
    state.migrate()
    state.acquire_lease("leader", "one", 300)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(LeaseHeld):
        state.acquire_lease("leader", "another", 300)
    now += timedelta(minutes=6)
    assert state.acquire_lease("leader", "another", 300).generation == 2
    state.close()
