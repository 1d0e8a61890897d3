"""The worker's end of the conversation: heartbeats mean movement, and stopping is asked for, not forced."""

from __future__ import annotations

import io
import json
import os
import time
from typing import Any

import pytest

from editing.errors import Stopped
from editing.progress import Counter
from editing.worker.protocol import Channel


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def heartbeats(stream: io.StringIO) -> int:
    return sum(event["event"] == "heartbeat" for event in said(stream))


def test_a_worker_that_does_not_move_falls_silent() -> None:
    stream = io.StringIO()
    channel = Channel(stream, heartbeat=0.01, patience=0.2)
    with channel.working():
        time.sleep(0.1)
        assert heartbeats(stream) > 0
        time.sleep(0.3)
        before = heartbeats(stream)
        time.sleep(0.1)
        assert heartbeats(stream) == before
        channel.progress("targets", 1, 2)
        time.sleep(0.1)
        assert heartbeats(stream) > before
    after = heartbeats(stream)
    time.sleep(0.05)
    assert heartbeats(stream) == after


def test_progress_has_rate_and_time_left_and_is_not_said_too_often() -> None:
    stream = io.StringIO()
    channel = Channel(stream)
    counter = Counter(channel.progress, "judge", 1000)
    for _ in range(1000):
        counter(1)
    events = said(stream)
    assert len(events) < 100
    assert [events[0]["done"], events[-1]["done"], events[-1]["total"]] == [0, 1000, 1000]
    assert events[-1]["eta_s"] == 0
    assert events[-1]["rate"] > 0


def test_a_counter_that_was_promised_too_little_never_passes_its_total() -> None:
    stream = io.StringIO()
    Counter(Channel(stream).progress, "judge", 1)(5)
    assert said(stream)[-1]["total"] == 5


def test_stopping_takes_effect_at_the_next_progress() -> None:
    channel = Channel(io.StringIO())
    channel.progress("targets", 1, 3)
    channel.stop()
    with pytest.raises(Stopped, match="finished δs are kept"):
        channel.progress("targets", 2, 3)


def test_a_listener_that_is_gone_asks_the_worker_to_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", closefd=True) as stream:
        channel = Channel(stream)
        channel.emit("ready")
        with pytest.raises(Stopped):
            channel.raise_if_stopping()
        with pytest.raises(BrokenPipeError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
