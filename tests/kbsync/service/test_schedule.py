"""The daemon's intervals under clocks that jump."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue

import pytest

from kbsync.service.schedule import Every, Schedule
from state.instants import clock_is_set

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_intervals_follow_each_other() -> None:
    every = Every(MINUTE)
    assert every.get_next_fire_time(None, NOW) == NOW + MINUTE
    assert every.get_next_fire_time(NOW, NOW) == NOW + MINUTE
    late = NOW + timedelta(seconds=10)
    assert every.get_next_fire_time(NOW, late) == NOW + MINUTE, "a busy machine does not shift the others"


def test_of_the_times_that_were_missed_one_is_made_up_for() -> None:
    every = Every(MINUTE)
    assert every.get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), NOW) == NOW + MINUTE


def test_catching_up_from_1970_takes_neither_time_nor_memory() -> None:
    fired: SimpleQueue[str] = SimpleQueue()
    schedule = Schedule({"sync": timedelta(seconds=1)}, fired.put)
    schedule.start()
    tracemalloc.start()
    try:
        schedule.scheduler.modify_job("sync", next_run_time=datetime(1970, 1, 1, tzinfo=UTC))
        assert fired.get(timeout=60) == "sync"
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 10 << 20
    finally:
        tracemalloc.stop()
        schedule.shutdown()


def test_a_clock_that_is_set_back_begins_the_intervals_again() -> None:
    fired: SimpleQueue[str] = SimpleQueue()
    ahead = [0.0]
    schedule = Schedule({"sync": timedelta(seconds=1)}, fired.put, wall=lambda: time.time() + ahead[0])
    schedule.start()
    try:
        schedule.scheduler.modify_job("sync", next_run_time=datetime.now(UTC) + timedelta(days=3650))
        with pytest.raises(Empty):
            fired.get(timeout=1.5)
        assert not schedule.look()
        ahead[0] = -3650 * 86_400.0
        assert schedule.look()
        assert not schedule.look(), "once"
        assert fired.get(timeout=60) == "sync"
    finally:
        schedule.shutdown()


def test_a_clock_before_kbsync_is_not_set() -> None:
    assert not clock_is_set(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    assert clock_is_set(NOW)
