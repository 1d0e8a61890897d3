"""One source's trouble is its own: the others are read, it is backed off, and the ledger says how it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from connectors.errors import SourceDataError, SourceRefused, SourceThrottled, SourceUnavailable
from connectors.observations import Connector, Poll
from connectors.registry import connect as open_connector
from kbsync.application import Application
from kbsync.intake.source import Source
from kbsync.queries.sources import source_states
from kbsync.service import reading
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.metrics import LedgerCollector
from kbsync.service.reading import FIRST_WAIT, LONGEST_WAIT, pull, reconcile, rests_until, wait_after
from state.errors import Unreachable
from state.records import SourceHealth
from tests.support.admission_world import DAY, HOUR, MINUTE, START, Clock, Script, observed, sources_of
from tests.support.micro import make
from tests.support.virtual_time import Stopwatch


class Bad(Script):
    """Raises whatever it is told to, in the middle of its steps; None: goes well."""

    error: Callable[[], BaseException] | None = None
    asked: int = 0

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        self.asked += 1
        yield Poll((observed(f"{self.name}_{self.asked}", "x", source=self.name),), str(self.asked))
        if self.error is not None:
            raise self.error()

    def snapshot(self, slots: object) -> Iterator[Poll]:
        if self.error is not None:
            raise self.error()
        return iter(())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, clock: Clock) -> Iterator[Application]:
    app = make(tmp_path).application()
    app.now = clock
    yield app
    app.close()


def connect(app: Application, *scripts: Script) -> None:
    app.__dict__["sources"] = sources_of(*scripts)
    for script in scripts:
        app.settings.sources[script.name] = {"kind": "files"}


def good(name: str = "good") -> Script:
    script = Script(name)
    script.tell(*(observed(f"{name}_{n}", "x", source=name) for n in range(3)))
    return script


def health(app: Application, name: str) -> SourceHealth:
    with app.state.read() as tx:
        return tx.source_health([name])[name]


def kinds(app: Application) -> list[str]:
    with app.state.read() as tx:
        return [event.kind for event in tx.events(kind="source.*")]


ERRORS: list[Callable[[], BaseException]] = [
    lambda: SourceUnavailable("nobody answers"),
    lambda: SourceDataError("a row is no row"),
    lambda: SourceRefused("no rights", 403),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: ZeroDivisionError("a fault of ours"),
    lambda: OSError(28, "No space left on device"),
    lambda: SystemExit(1),
    lambda: AssertionError("\x00\ud800\x1b]0;"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_source_raises_the_others_are_read(
    app: Application, error: Callable[[], BaseException]
) -> None:
    bad = Bad("bad")
    bad.error = error
    connect(app, good("a"), bad, good("z"))
    reports, unavailable = pull(app)
    assert set(unavailable) == {"bad"}
    assert reports["a"].observations == reports["z"].observations == 3
    found = health(app, "bad")
    assert (found.failures, found.succeeded) == (1, None)
    assert found.kind
    assert found.error == unavailable["bad"]
    assert kinds(app) == ["source.unavailable"]
    with app.state.read() as tx:
        assert tx.cursor("bad") == "1", "what it said before stays"
    assert app.state.audit.verify().ok


def test_a_source_that_cannot_even_be_set_up_is_unavailable(app: Application) -> None:
    def broken() -> Connector:
        raise ImportError("no module named vendor")

    connect(app, good("a"))
    app.sources["bad"] = Source("bad", broken, MINUTE)
    reports, unavailable = pull(app)
    assert unavailable == {"bad": "ImportError: no module named vendor"}
    assert reports["a"].observations == 3


def test_data_that_the_ledger_cannot_take_is_its_sources_trouble(app: Application) -> None:
    wrong = Script("wrong")
    wrong.steps.append(Poll((None,), "1"))  # type: ignore[arg-type]
    connect(app, wrong, good("z"))
    reports, unavailable = pull(app)
    assert set(unavailable) == {"wrong"}
    assert reports["z"].observations == 3


def test_the_ledgers_own_trouble_is_no_sources(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(app, good("a"))

    def full(*_: object, **__: object) -> None:
        raise Unreachable("the disk is full")

    monkeypatch.setattr(reading.SourceTurns, "turn", full)
    with pytest.raises(Unreachable):
        pull(app)
    assert health(app, "a").failures == 0


class Stuck(Script):
    released: threading.Event
    asked: threading.Event

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        self.asked.set()
        self.released.wait()
        return super().poll(cursor)


def test_a_source_that_hangs_delays_the_others_by_its_deadline_only(app: Application) -> None:
    stuck = Stuck("stuck")
    stuck.released, stuck.asked = threading.Event(), threading.Event()
    stuck.tell(observed("late", "x", source="stuck"))
    connect(app, good("z"))
    patient = app.sources.pop("z")
    app.sources["stuck"] = Source("stuck", lambda: stuck, timedelta(milliseconds=1))
    app.sources["z"] = patient
    reports, unavailable = pull(app)
    assert "no answer within" in unavailable["stuck"]
    assert reports["z"].observations == 3
    while not stuck.asked.is_set():  # a call that had no time to begin is made again
        pull(app)
    _, unavailable = pull(app)
    assert "is still busy" in unavailable["stuck"]
    stuck.released.set()
    call = app.sources["stuck"]._current
    assert call is not None
    assert call.done.wait(60)
    app.sources["stuck"].deadline = MINUTE
    reports, unavailable = pull(app)
    assert unavailable == {}
    assert reports["stuck"].observations == 1


class Slow(Script):
    """Takes 20 s for each step."""

    watch: Stopwatch

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        for step in super().poll(cursor):
            self.watch.at += 20
            yield step

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        for step in super().snapshot(slots):
            self.watch.at += 20
            yield step


def test_a_source_without_end_has_one_turn_and_a_bootstrap_reads_it_whole(app: Application) -> None:
    long = Slow("long")
    for n in range(6):
        long.tell(observed(f"long_{n}", "x", source="long"))
    time = Stopwatch()
    connect(app, good("z"))
    long.watch = time
    app.sources["long"] = Source("long", lambda: long, MINUTE, monotonic=time)
    reports, _ = pull(app)
    assert reports["long"].unfinished
    assert reports["long"].observations == 2
    assert reports["z"].observations == 3
    assert health(app, "long").succeeded is None
    reports, _ = pull(app, bootstrap=True)
    assert reports["long"].observations == 4
    assert health(app, "long").succeeded == START


def test_the_wait_grows_with_every_failure_and_survives_a_restart(app: Application, clock: Clock) -> None:
    bad = Bad("bad")
    bad.error = lambda: SourceUnavailable("nobody answers")
    connect(app, bad)
    waits = []
    for n in range(12):
        _, unavailable = pull(app, asked=False)
        found = health(app, "bad")
        assert found.failures == n + 1
        assert found.retry is not None
        waits.append(found.retry - clock())
        connect(app, bad)  # another process: nothing is remembered but the ledger
        _, unavailable = pull(app, asked=False)
        assert "asked again after" in unavailable["bad"]
        assert bad.asked == n + 1
        clock.forward(waits[-1])
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT
    assert waits == sorted(waits)
    assert kinds(app) == ["source.unavailable"]
    bad.error = None
    pull(app, asked=False)
    found = health(app, "bad")
    assert (found.failures, found.retry, found.succeeded) == (0, None, clock())
    assert found.error == "nobody answers", "the last error stays to be read"
    assert kinds(app) == ["source.unavailable", "source.available"]


def test_an_operator_does_not_wait_unless_the_source_itself_asked_to(app: Application) -> None:
    bad = Bad("bad")
    bad.error = lambda: SourceUnavailable("nobody answers")
    connect(app, bad)
    pull(app)
    pull(app)
    assert bad.asked == 2
    bad.error = lambda: SourceThrottled("too many", 7200)
    pull(app)
    _, unavailable = pull(app)
    assert bad.asked == 3
    assert "too many; it is asked again after 2024-01-01 02:00 UTC" in unavailable["bad"]


def test_a_retry_after_of_years_is_not_obeyed() -> None:
    assert wait_after(1, SourceThrottled("no", 7200)) == 2 * HOUR
    assert wait_after(1, SourceThrottled("no", 1e12)) == DAY
    assert wait_after(10**9) == LONGEST_WAIT


def test_a_failure_of_a_clock_that_ran_ahead_holds_nothing_back() -> None:
    later = SourceHealth("kb", failed=START + 3650 * DAY, retry=START + 3651 * DAY, failures=1)
    assert rests_until(later, START) is None
    soon = SourceHealth("kb", failed=START, retry=START + HOUR, failures=1)
    assert rests_until(soon, START) == START + HOUR
    assert rests_until(soon, START + HOUR) is None


def scrape(app: Application) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(app, Heartbeat()))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}


def test_the_lag_of_a_source_that_has_nothing_new_does_not_grow(app: Application, clock: Clock) -> None:
    bad = Bad("bad")
    bad.error = lambda: SourceUnavailable("nobody answers")
    connect(app, good(), bad)
    pull(app)
    clock.forward(HOUR)
    pull(app)
    clock.forward(MINUTE)
    found = scrape(app)
    assert found['kbsync_source_lag_seconds{source="good"}'] == 60
    assert 'kbsync_source_lag_seconds{source="bad"}' not in found
    assert found['kbsync_source_failures{source="bad"}'] == 2
    assert found['kbsync_source_failures{source="good"}'] == 0
    assert found['kbsync_source_slots{source="good"}'] == 3


def test_rejected_rows_are_counted_until_a_reading_without_any(app: Application, tmp_path: Path) -> None:
    drop = tmp_path / "dropped"
    drop.mkdir()
    settings = {"kind": "files", "folder": str(drop), "namespace": "crm"}
    app.settings.sources["crm"] = settings
    app.__dict__["sources"] = {"crm": Source("crm", lambda: open_connector("crm", settings), 10 * MINUTE)}
    header = "subject,subject_label,relation,object,object_label\n"
    (drop / "a.csv").write_text(f"{header}1,Ann,wdt:P6,2,Bob\n,,wdt:P6,2,Bob\n")
    pull(app)
    assert scrape(app)['kbsync_source_rejected_rows{source="crm"}'] == 1
    with app.state.read() as tx:
        notices = [notice for one in source_states(app, tx) for notice in one.notices()]
    reject = "crm: a.csv: 1 of 2 rows cannot be used; row 3: no subject"
    assert notices == [f"1 rows of the latest reading were rejected: {reject}"]
    pull(app)
    assert scrape(app)['kbsync_source_rejected_rows{source="crm"}'] == 1, "nothing was read"
    (drop / "b.csv").write_text(f"{header}3,Carl,wdt:P6,2,Bob\n")
    pull(app)
    assert scrape(app)['kbsync_source_rejected_rows{source="crm"}'] == 0


def test_a_full_re_read_goes_on_in_the_next_turn_where_it_paused(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kbsync.intake.pull.PAGE", 2)
    many = Slow("many")
    many.tell(*(observed(f"many_{n}", "x", source="many") for n in range(7)))
    many.watch = Stopwatch()
    connect(app, many)
    pull(app)
    time = Stopwatch()
    many.watch = time
    app.sources["many"] = Source("many", lambda: many, MINUTE, monotonic=time)
    read, turns = 0, 0
    while True:
        report = reconcile(app)["many"]
        read, turns = read + report.observations, turns + 1
        if not report.unfinished:
            break
        assert health(app, "many").reconciled is not None
    assert (read, turns) == (7, 2)
    assert health(app, "many").reconciled is None
