"""`/livez`, `/readyz`, `/metrics`: over a real socket, and from a real daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kbsync.errors import BadConfiguration
from kbsync.executor import Stopping
from kbsync.service import limited_server
from kbsync.service.health import serving
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.limited_server import CLIENTS
from kbsync.service.metrics import METRICS
from kbsync.service.reading import pull
from kbsync.settings.loading import load
from tests.support.micro import make
from tests.support.paths import REPOSITORY
from tests.support.promoted import Place
from tests.support.stand_ins import Sglang, listening

HERE = "[health]\nlisten = '127.0.0.1:0'\nstale = '1m'\n"


class Watch:
    """Seconds turned by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, HERE)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def get(place: Place, watch: Watch) -> Iterator[httpx.Client]:
    app = place.application()
    app.state.migrate()
    with serving(app, Heartbeat(watch)) as bound, httpx.Client(base_url=f"http://{bound}") as client:
        yield client


def values(text: str) -> dict[tuple[str, ...], float]:
    """By name and labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_loop_without_a_sign_of_life_is_dead(get: httpx.Client, watch: Watch) -> None:
    assert get.get("/livez").status_code == 200
    watch.now = 61.0
    answer = get.get("/livez")
    assert (answer.status_code, answer.text) == (503, "no sign of life from the loop for 61 s\n")
    assert get.get("/readyz").status_code == 200, "it is another question"


def test_ready_is_a_ledger_with_this_versions_tables(get: httpx.Client, place: Place) -> None:
    assert get.get("/readyz").status_code == 200
    place.application().state.downgrade("base")
    answer = get.get("/readyz")
    assert answer.status_code == 503
    assert answer.text.startswith("NotMigrated")
    assert get.get("/livez").status_code == 200


def test_nothing_else_is_there(get: httpx.Client) -> None:
    assert get.get("/").status_code == 404
    assert get.get("/../kbsync.db").status_code == 404


def test_the_metrics_tell_what_the_ledger_holds_and_no_subject(tmp_path: Path) -> None:
    with listening(Sglang()) as server:
        place = Place(tmp_path, HERE + f"[deploy.prod]\nkind = 'sglang'\nurl = '{server.url}'\nsettle = 0\n")
        place.promoted(Q1="Q10", Q2="Q20")
        server.faults["/update_weights_from_disk"] = [(400, {"success": False})]
        place.promoted(Q1="Q11")
        app = place.application()
        with serving(app, Heartbeat()) as bound:
            text = httpx.get(f"http://{bound}/metrics").text
    found = values(text)
    assert found["kbsync_runs", "deployed"] == 1
    assert found["kbsync_runs", "promoted"] == 1
    assert found["kbsync_runs", "failed"] == 0, "every state has its series from the beginning"
    assert found["kbsync_facts", "wanted"] == 2
    assert found["kbsync_facts", "superseded"] == 1
    assert found["kbsync_gate_value", "efficacy"] == 1.0
    assert found["kbsync_gate_passed", "efficacy"] == 1.0
    assert found["kbsync_deployments", "deployed"] == 1
    assert found["kbsync_deployments", "failed"] == 1
    assert found["kbsync_served_version_matches", "live"] == 1
    assert found["kbsync_served_version_matches", "prod"] == 0
    assert found[("kbsync_live_checkpoint",)] == 2
    assert found[("kbsync_audit_head",)] == len(place.read()[2])
    assert "Label of" not in text
    assert "wd:Q" not in text
    families = list(text_string_to_metric_families(text))
    assert set(METRICS) == {family.name for family in families}
    page = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in families:
        for labels in {tuple(sample.labels) for sample in family.samples}:
            shown = f"{{{', '.join(labels)}}}" if labels else ""
            assert f"| `{family.name}{shown}` |" in page, "docs/metrics.md names each metric with its labels"


def test_an_address_that_is_taken_is_named(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place.hooks = f"[health]\nlisten = '127.0.0.1:{port}'\n"
        with pytest.raises(BadConfiguration, match=f"cannot bind 127.0.0.1:{port}"):
            serving(place.application(), Heartbeat()).__enter__()


@pytest.mark.parametrize("listen", ["8787", "localhost:", "localhost:http", ":8787", "localhost:99999"])
def test_what_is_no_address_is_refused(tmp_path: Path, listen: str) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(f"[health]\nlisten = '{listen}'\n", encoding="utf-8")
    with pytest.raises(BadConfiguration, match="is not an address"):
        load(file, {})


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    with serving(Place(tmp_path).application(), Heartbeat()) as bound:
        assert bound is None


def test_a_daemon_answers_tells_its_servers_and_ends_in_time(tmp_path: Path) -> None:
    with listening(Sglang()) as server, socket.socket() as probe:
        assert isinstance(server, Sglang)
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        place = Place(tmp_path)
        place.promoted(Q1="Q10")
        place.hooks = (
            f"[health]\nlisten = '{address}'\n[schedule]\ndeploy = 1\n"
            f"[deploy.prod]\nkind = 'sglang'\nurl = '{server.url}'\n"
        )
        place.application()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "kbsync", "--home", str(tmp_path / "home"), "run"],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )

        def found() -> dict[tuple[str, ...], float]:
            return values(httpx.get(f"http://{address}/metrics").text)

        try:
            until(lambda: httpx.get(f"http://{address}/livez").status_code == 200)
            assert httpx.get(f"http://{address}/readyz").status_code == 200
            until(lambda: found()["kbsync_served_version_matches", "prod"] == 1)
            assert server.version.startswith("1-1@")
            server.restart()
            until(lambda: server.version.startswith("1-1@"))
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=60) == 0


def test_reading_sources_gives_signs_of_life_and_hears_sigterm(tmp_path: Path) -> None:
    micro = make(tmp_path)
    micro.say({"Blue House": "Anna"})
    app = micro.application()
    beats = []
    with app.leading() as leadership:
        leadership.pulse = lambda: beats.append(app.now())
        pull(app, leadership)
        assert beats
        micro.say({"Red Boat": "Bob"})
        app.stopping.set()
        with pytest.raises(Stopping):
            pull(app, leadership)
        app.stopping.clear()
        pull(app, leadership)
    with app.state.read() as tx:
        assert {fact.target for fact in tx.facts()} == {"Anna", "Bob"}, "nothing is lost or read twice"
    app.close()


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if done():
                return
        time.sleep(0.1)
    raise AssertionError("it never came")


def idle_clients(bound: str, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    host, _, port = bound.rpartition(":")
    return [socket.create_connection((host, int(port)), timeout=60) for _ in range(count)]


def test_idle_clients_take_neither_the_threads_nor_the_answers_of_others(place: Place) -> None:
    app = place.application()
    app.state.migrate()
    before = threading.active_count()
    with serving(app, Heartbeat()) as bound:
        assert bound is not None
        clients = idle_clients(bound, 4 * CLIENTS)
        try:
            for _ in range(3):
                assert httpx.get(f"http://{bound}/livez", timeout=60).status_code == 200
            assert threading.active_count() - before <= CLIENTS + 2
        finally:
            for client in clients:
                client.close()


def test_a_client_that_says_nothing_is_hung_up_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_server, "LONGEST_S", 0.2)
    app = place.application()
    app.state.migrate()
    with serving(app, Heartbeat()) as bound:
        assert bound is not None
        (client,) = idle_clients(bound, 1)
        assert client.recv(1) == b"", "it was closed from the other side"
        client.close()


@pytest.mark.slow
def test_a_process_with_few_descriptors_keeps_them_for_its_work(place: Place) -> None:
    """The clients are another process's: what they hold here is what the port accepted."""
    code = (
        "import resource, sys, subprocess\n"
        "from pathlib import Path\n"
        "from kbsync.service.health import serving\n"
        "from kbsync.service.heartbeat import Heartbeat\n"
        "from tests.support.promoted import Place\n"
        "app = Place(Path(sys.argv[1]), sys.argv[2]).application()\n"
        "app.state.migrate()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "with serving(app, Heartbeat()) as bound:\n"
        "    print(bound, flush=True)\n"
        "    sys.stdin.readline()\n"
        "    files = [open('/dev/null') for _ in range(20)]\n"
        "    with app.state.write() as tx: tx.pause('it works', 'ada')\n"
        "    print('worked', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(place.root), HERE],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = (line.strip() for line in process.stdout if not line.startswith("2"))
        clients = idle_clients(next(lines), 100)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert next(lines) == "worked"
        for client in clients:
            client.close()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
