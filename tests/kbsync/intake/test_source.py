"""No connector is waited for without end, and nothing that it raises ends anything but its own reading."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import pytest

from connectors.clock import Clock
from connectors.errors import SourceTimeout, SourceUnavailable
from connectors.observations import Poll
from kbsync.intake.source import Source
from tests.support.admission_world import MINUTE, Script, observed
from tests.support.virtual_time import Stopwatch


class Stuck(Script):
    """Answers one step and then hangs until it is released."""

    released: threading.Event

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        yield Poll((observed("italy", "conte"),), "1")
        self.released.wait()
        yield Poll((), "2")


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    script = Stuck()
    script.released = threading.Event()
    yield script
    script.released.set()


def test_a_source_answers_as_its_connector_does() -> None:
    script = Script()
    script.tell(observed("italy", "conte"))
    script.tell(observed("spain", "perez"))
    source = Source("kb", lambda: script, MINUTE)
    assert [step.cursor for step in source.poll(None)] == ["1", "2"]
    assert list(source.snapshot([("wd:italy", "wdt:P6")])) == list(script.snapshot([("wd:italy", "wdt:P6")]))
    assert source.neighbours("wdt:P6", None, 5) == script.neighbours("wdt:P6", None, 5)
    assert source.facts_of("wd:italy", 5) == script.facts_of("wd:italy", 5)
    assert source.check().ok
    source.close()


def test_a_connector_that_hangs_is_left_behind_and_not_asked_again_until_it_returns(stuck: Stuck) -> None:
    time = Stopwatch()
    source = Source("kb", lambda: stuck, timedelta(seconds=10), monotonic=time)
    steps = source.poll(None)
    assert next(steps).cursor == "1"
    time.step = 1.0
    with pytest.raises(SourceTimeout, match="no answer within 10 s"):
        next(steps)
    with pytest.raises(SourceUnavailable, match="is still busy"):
        next(source.poll(None))
    stuck.released.set()
    assert source._current is not None
    assert source._current.done.wait(60)
    time.step = 0.0
    assert next(source.poll(None)).cursor == "1"


def test_all_that_is_asked_in_one_reading_shares_its_deadline() -> None:
    script = Script()
    for name in ("italy", "spain", "malta", "france"):
        script.tell(observed(name, "x"))
    time = Stopwatch()
    source = Source("kb", lambda: script, timedelta(seconds=60), monotonic=time)
    read = []
    with source.reading():
        for step in source.poll(None):
            read.append(step.cursor)
            time.at += 20.0
            if source.must_pause():
                break
        time.at += 20.0
        with pytest.raises(SourceTimeout):
            source.check()
    assert read == ["1", "2"]
    with source.reading():
        assert not source.must_pause()


class Raises(Script):
    error: Callable[[], BaseException]

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        raise self.error()


def recursion() -> BaseException:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        return error
    raise AssertionError("Python recurses without end")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (lambda: ValueError("no"), ValueError),
        (lambda: MemoryError(), MemoryError),
        (recursion, RecursionError),
        (lambda: StopIteration("no"), RuntimeError),
        (lambda: SystemExit(3), SourceUnavailable),
        (lambda: KeyboardInterrupt(), SourceUnavailable),
    ],
)
def test_what_a_connector_raises_is_an_exception_here_and_never_the_end_of_the_process(
    error: Callable[[], BaseException], raised: type[Exception]
) -> None:
    script = Raises()
    script.error = error
    source = Source("kb", lambda: script, MINUTE)
    for _ in range(2):
        with pytest.raises(raised):
            list(source.poll(None))
    source.close()


def test_a_connector_that_cannot_be_made_is_tried_again() -> None:
    tries: Iterable[object] = iter([OSError("no driver"), Script()])

    def connect() -> Script:
        made = next(tries)  # type: ignore[call-overload]
        if isinstance(made, OSError):
            raise made
        return made

    source = Source("kb", connect, MINUTE)
    with pytest.raises(OSError, match="no driver"):
        list(source.poll(None))
    assert list(source.poll(None)) == []


class Stop(Exception):
    """What whoever waits raises to break off."""


class Waiting(Script):
    """Waits, as for a Retry-After, by the clock that its source gives it."""

    clock: Clock
    ended: threading.Event

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        try:
            self.clock.sleep(3600)
            raise AssertionError("it would ask the server before the time is over")
        finally:
            self.ended.set()
        yield


def test_breaking_off_ends_a_connectors_wait_without_another_request() -> None:
    script = Waiting()
    script.ended = threading.Event()

    def alive() -> None:
        raise Stop

    source = Source("kb", lambda: script, timedelta(hours=2), alive)
    script.clock = Clock(sleep=source.sleep)
    with pytest.raises(Stop):
        list(source.poll(None))
    assert script.ended.wait(60)
    assert source._current is not None
    assert source._current.done.wait(60)
    assert isinstance(source._current.error, SourceUnavailable)


def test_a_source_may_be_closed_twice_and_asked_again_after_that() -> None:
    """A second close waited for a thread that had ended, until the deadline."""
    script = Script("kb", [Poll((), "1")])
    source = Source("kb", lambda: script, timedelta(days=1))
    assert source.check().ok
    source.close()
    source.close()
    assert source.check().ok
    source.close()
