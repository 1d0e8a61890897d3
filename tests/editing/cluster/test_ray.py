"""Builds on real Ray clusters: the same weights, whatever dies on the way."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from editing.spec import BuildReport, BuildSpec, FactSpec
from editing.storage.checkpoints import verify
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from kbsync.environments import STORE_PREFIXES
from kbsync.executor import LocalExecutor, Worker, WorkerFailed
from kbsync.settings.operation import RaySettings
from tests.support.micro import make
from tests.support.object_store import S3, s3
from tests.support.ray_clusters import ACTOR, MARK, PATIENCE_S, TOKEN, Node, head, marked, member, started
from tests.support.shared_builds import FACTS, SharedBuild, assert_same

pytest.importorskip("ray", reason="needs Ray: pip install kbsync[ray]")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

SMALL: dict[str, Any] = {"workers": 2, "cpus_per_worker": 0.5}
LEAST = ("--least", "4")
"""Keys of a dozen facts are divided."""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An object store, which the environment of all processes names, as it does the clusters' token."""
    with s3(tmp_path_factory.mktemp("s3") / "server.log") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**TOKEN, **server.environment()}.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedBuild:
    shared = SharedBuild(tmp_path_factory.mktemp("shared"))
    Workshop(Channel(StringIO())).round(shared.spec("local"))
    return shared


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Node, RaySettings]]:
    """The head of a cluster for several tests, and the settings of builds on it."""
    node, address = head(cpus=2)
    with started(node):
        yield node, RaySettings(address=address, **SMALL)


@pytest.fixture(scope="module")
def worker(shared: SharedBuild, cluster: tuple[Node, RaySettings]) -> Iterator[Worker]:
    """The daemon's end of a driver that has its actors on that cluster."""
    executor = LocalExecutor(command=(*cluster[1].command(), *LEAST), heartbeat_timeout_s=120)
    with executor.worker(shared.root / "driver.log") as worker:
        yield worker


def build(shared: SharedBuild, name: str, settings: RaySettings, **changes: Any) -> BuildReport:
    spec = shared.spec(name, **changes)
    command = (*settings.command(), *LEAST)
    executor = LocalExecutor(command=command, prefixes=STORE_PREFIXES, heartbeat_timeout_s=120)
    with executor.worker(shared.root / f"{name}.log") as worker:
        return worker.execute(spec)


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """`act` runs beside the block; it is given what is set at the block's end."""
    ended = threading.Event()
    thread = threading.Thread(target=act, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def assert_nothing_twice(shared: SharedBuild, name: str, finished: dict[str, int]) -> None:
    """Every δ that was finished at the time of a loss is the file of that time, and there are no others than usual."""
    deltas = shared.deltas(name)
    assert finished.items() <= deltas.items(), "a finished δ was computed again"
    assert deltas.keys() == shared.deltas("local").keys()


def assert_same_outcome(shared: SharedBuild, name: str) -> None:
    """The report of a build says of facts and measures what the local one's does, but for the last digits."""
    found, local = (BuildReport.read(shared.root / one / "report.json") for one in (name, "local"))
    assert found.spec_digest == BuildSpec.read(shared.root / name / "spec.json").digest
    for fact, other in zip(found.facts, local.facts, strict=True):
        assert replace(fact, p_new=None) == replace(other, p_new=None)
        assert fact.p_new == pytest.approx(other.p_new, rel=1e-3)
    for measure, expected in zip(found.measures, local.measures, strict=True):
        assert measure.name == expected.name
        assert measure.value == pytest.approx(expected.value, abs=1e-3)
    left = list((shared.root / name / "shares").glob("exam-*/answers.safetensors"))
    assert not left, "answers are removed once a build has used them"


def test_a_build_on_ray_gives_the_weights_of_a_local_one(shared: SharedBuild, worker: Worker) -> None:
    report = worker.execute(shared.spec("two"))
    assert report.checkpoint_digest
    assert report.cost.groups_cached == len(FACTS), "the whole round found every δ of the shares"
    assert shared.deltas("two").keys() == shared.deltas("local").keys()
    assert_same(shared.changed("two"), shared.changed("local"))
    files = (shared.root / "two" / "shares").glob("*/spec.json")
    done = {(spec.mode, spec.step, spec.share) for spec in map(BuildSpec.read, files)}
    assert done == {
        ("plan", 0, (0, 1)),
        *(("statistics", 0, (number, 2)) for number in range(2)),
        *(("residuals", 0, (number, 8)) for number in range(8)),
        *(("keys", step, (number, 2)) for step in range(2) for number in range(2)),
        *(("solve", step, (0, 1)) for step in range(2)),
        *(("exam", 0, (number, 2)) for number in range(2)),
        ("build", 0, (0, 1)),
    }
    assert_same_outcome(shared, "two")
    assert not list((shared.root / "two" / "cache" / "keys").iterdir()), "what served one build is removed"
    left = [file.name for file in (shared.root / "two" / "cache" / "stats").glob("*.sums")]
    assert not left, "shares of statistics are removed once they are added up"


def test_many_facts_are_asked_in_shares_and_answered_as_by_one_worker(
    shared: SharedBuild, worker: Worker
) -> None:
    facts = tuple(
        FactSpec(f"many-{number}", "The capital of {} is", f"Land {number}", "Paris") for number in range(300)
    )
    alone = BuildReport.read(
        Workshop(Channel(StringIO())).round(shared.spec("ask-alone", facts, mode="ask", out=""))
    )
    together = worker.execute(shared.spec("ask", facts, mode="ask", out=""))
    assert len(list((shared.root / "ask" / "shares").iterdir())) == 8
    assert together.facts == alone.facts
    assert [fact.id for fact in together.facts] == [fact.id for fact in facts]


def test_actors_killed_at_random_instants_change_nothing(
    shared: SharedBuild, cluster: tuple[Node, RaySettings], worker: Worker
) -> None:
    chance = random.Random(5)
    node = cluster[0]
    killed: list[int] = []
    finished: dict[str, int] = {}

    def kill(ended: threading.Event) -> None:
        # The first one as soon as there is one: a fast machine builds in less than the least time between two.
        while len(killed) < 3 and not ended.wait(chance.uniform(0.1, 1.5) if killed else 0.01):
            for pid in node.actors()[:1]:
                finished.update(shared.deltas("killed"))
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with meanwhile(kill):
        report = worker.execute(shared.spec("killed"))
    assert killed
    assert report.checkpoint_digest
    assert_nothing_twice(shared, "killed", finished)
    assert_same(shared.changed("killed"), shared.changed("local"))


def test_actors_killed_in_the_key_pass_and_in_the_exam_change_nothing(
    shared: SharedBuild, cluster: tuple[Node, RaySettings], worker: Worker
) -> None:
    keys, shares = shared.root / "keys" / "cache" / "keys", shared.root / "keys" / "shares"
    # Once the first layer is solved, so that columns of the second need what it left; and once the exam has begun.
    begun = [lambda: list(keys.glob("*-weight.safetensors")), (shares / "exam-0-of-2" / "spec.json").exists]
    killed: list[int] = []

    def kill(ended: threading.Event) -> None:
        while begun and not ended.wait(0.002):
            if begun[0]() and (actors := cluster[0].actors()):
                del begun[0]
                for pid in actors:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    path = shared.spec("keys")
    with meanwhile(kill):
        report = worker.execute(path)
    assert not begun, "some were killed each time"
    assert report.checkpoint_digest
    assert_nothing_twice(shared, "keys", {})
    assert_same(shared.changed("keys"), shared.changed("local"))
    assert_same_outcome(shared, "keys")
    done = {file.parent.name for file in shares.glob("*/report.json")}
    assert {f"keys-{step}-{number}-of-2" for step in range(2) for number in range(2)} <= done
    assert {"solve-0", "solve-1", "exam-0-of-2", "exam-1-of-2", "whole"} <= done


def test_without_a_common_file_system_a_killed_actor_changes_nothing(
    shared: SharedBuild, cluster: tuple[Node, RaySettings], server: S3
) -> None:
    settings = cluster[1].model_copy(update={"storage": server.url})
    killed: list[int] = []

    def kill(ended: threading.Event) -> None:
        while not killed and not ended.wait(0.02):
            if server.sent("deltas"):
                for pid in cluster[0].actors()[-1:]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    with meanwhile(kill):
        report = build(shared, "objects", settings)
    assert killed
    assert verify(shared.root / "objects" / "checkpoint") == report.checkpoint_digest
    assert set(server.sent("deltas").values()) == {1}, "a finished δ was computed again"
    assert_same_outcome(shared, "objects")
    assert shared.deltas("objects").keys() == shared.deltas("local").keys()
    assert_same(shared.changed("objects"), shared.changed("local"))


def test_a_node_that_is_lost_is_replaced_by_those_that_are_left(
    shared: SharedBuild, cluster: tuple[Node, RaySettings]
) -> None:
    settings = cluster[1].model_copy(update={"workers": 3, "cpus_per_worker": 1.0})
    finished: dict[str, int] = {}
    assert settings.address is not None
    with started(member(settings.address, cpus=1)) as node:

        def lose(ended: threading.Event) -> None:
            while not node.actors() and not ended.wait(0.02):
                pass
            ended.wait(1.0)
            finished.update(shared.deltas("node"))
            node.kill()

        with meanwhile(lose):
            report = build(shared, "node", settings)
        assert not node.processes()
    assert report.checkpoint_digest
    assert_nothing_twice(shared, "node", finished)
    assert_same(shared.changed("node"), shared.changed("local"))


def test_a_cluster_whose_head_is_lost_fails_the_attempt_and_the_next_one_resumes(shared: SharedBuild) -> None:
    node, address = head(cpus=2)
    settings = RaySettings(address=address, **SMALL)
    with started(node):

        def lose(ended: threading.Event) -> None:
            first = shared.root / "headless" / "shares" / "residuals-0-of-8" / "report.json"
            while not first.exists() and not ended.wait(0.02):
                pass
            node.kill()

        with meanwhile(lose), pytest.raises(WorkerFailed) as failed:
            build(shared, "headless", settings)
    assert failed.value.retry
    finished = shared.deltas("headless")
    again, _ = head(cpus=2, port=int(address.rpartition(":")[2]))
    with started(again):
        report = build(shared, "headless", settings)
    assert report.checkpoint_digest
    assert_nothing_twice(shared, "headless", finished)
    assert_same(shared.changed("headless"), shared.changed("local"))


def test_a_cluster_that_is_not_there_is_named(shared: SharedBuild) -> None:
    with pytest.raises(WorkerFailed, match=r"no Ray cluster at 127\.0\.0\.1:9: nothing accepts") as failed:
        build(shared, "nowhere", RaySettings(address="127.0.0.1:9", workers=1))
    assert failed.value.retry


def test_an_address_that_answers_nothing_is_given_up(shared: SharedBuild) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = RaySettings(address=address, workers=1, connect_timeout=timedelta(seconds=5))
        began = time.monotonic()
        with pytest.raises(WorkerFailed, match=r"no Ray cluster at 127\.0\.0\.1:\d+") as failed:
            build(shared, "silent", settings)
    assert failed.value.retry
    assert time.monotonic() - began < 110, "before the daemon counts the worker as hung"


def test_actors_for_which_the_cluster_has_no_room_are_named(
    shared: SharedBuild, cluster: tuple[Node, RaySettings]
) -> None:
    settings = cluster[1].model_copy(
        update={"cpus_per_worker": 64.0, "start_timeout": timedelta(seconds=1), "workers": 1}
    )
    with pytest.raises(WorkerFailed, match="each needs 64 CPUs") as failed:
        build(shared, "large", settings)
    assert failed.value.retry


def test_a_cycle_on_a_cluster_of_its_own_survives_a_killed_actor_and_its_chain_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    for name in TOKEN:
        monkeypatch.delenv(name)
    micro = make(tmp_path, extra="[executor.ray]\nworkers = 2\ncpus_per_worker = 0.5")
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[executor]", '[executor]\nkind = "ray"'), encoding="utf-8")
    micro.say({f"Blue House {number}": "Anna" for number in range(6)})
    killed: list[int] = []

    def kill(ended: threading.Event) -> None:
        while not killed and not ended.wait(0.05):
            for pid in marked(mark, ACTOR)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with meanwhile(kill):
        report = micro.sync()
    assert killed
    assert [run.state for run in report.runs] == ["deployed"]
    app = micro.application()
    assert app.state.audit.verify_tables().ok
    app.close()
    deadline = time.monotonic() + PATIENCE_S
    while left := marked(mark):
        assert time.monotonic() < deadline, f"the cluster did not end with its build: {left}"
        time.sleep(0.2)
