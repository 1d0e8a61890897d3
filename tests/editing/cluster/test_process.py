"""The process that directs a build on a cluster: what it says without Ray, and that it never waits forever."""

from __future__ import annotations

import json
import sys
import threading
from io import StringIO
from pathlib import Path

import pytest

from editing.cluster.__main__ import cluster
from editing.cluster.merging import merged
from editing.cluster.plan import ClusterPlan
from editing.cluster.watchdog import GAVE_UP, Watchdog
from editing.cost import Cost
from editing.errors import SpecError
from editing.spec import BuildReport, BuildSpec, FactReport, FactSpec
from editing.worker.protocol import Channel
from kbsync.errors import BadConfiguration
from kbsync.queries.object_store import storage_problems
from kbsync.settings.loading import load
from kbsync.settings.operation import ExecutorSettings, RaySettings


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "editing.cluster.driver", raising=False)
    for name in ("ray", "editing.cluster.connection", "editing.cluster.crew"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SpecError, match=r"kbsync\[ray\]"):
        cluster(Channel(StringIO()), ClusterPlan())


def test_what_takes_too_long_is_reported_and_ends_the_process() -> None:
    written, ended, codes = StringIO(), threading.Event(), []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    watchdog = Watchdog(Channel(written), end)
    with watchdog.within(60, "this is in time"):
        pass
    with watchdog.within(0, "the cluster is silent: start it again"):
        assert ended.wait(60)
    event = json.loads(written.getvalue())
    assert event == {
        "event": "error",
        "kind": "internal",
        "message": "the cluster is silent: start it again",
        "retry": True,
    }
    assert codes == [GAVE_UP]


def test_a_report_of_shares_has_the_order_of_the_spec() -> None:
    facts = tuple(FactSpec(id, "{} is", "X", "Y") for id in "abcd")
    spec = BuildSpec("1", "base", "digest", "", "cache", (), None, facts, mode="ask")

    def report(*ids: str) -> BuildReport:
        said = tuple(FactReport(id, id == "c", "answer", "answer", None) for id in ids)
        return BuildReport("1", "digest", "", "", said, (), Cost(peak_memory_bytes=len(ids)), {})

    whole = merged(spec, "digest of the spec", [report("a", "c"), report("d", "b", "x")], seconds=2.0)
    assert [fact.id for fact in whole.facts] == ["a", "b", "c", "d"]
    assert [fact.known for fact in whole.facts] == [False, False, True, False]
    assert whole.spec_digest == "digest of the spec"
    assert whole.cost.peak_memory_bytes == 3


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port", "http://head:8265"])
def test_an_address_of_another_kind_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_EXECUTOR__RAY__ADDRESS", address)
    with pytest.raises(BadConfiguration, match="is not HOST:PORT"):
        load(None)


def test_the_settings_become_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_EXECUTOR__RAY__ADDRESS", "[::1]:6379")
    monkeypatch.setenv("KBSYNC_EXECUTOR__RAY__CONNECT_TIMEOUT", "30s")
    command = load(None).executor.ray.command()
    assert command[1:3] == ("-m", "editing.cluster")
    assert {"--address=[::1]:6379", "--workers=2", "--connect-s=30"} <= set(command)


@pytest.mark.parametrize(
    "url", ["bucket/prefix", "s3:///prefix", "s3://key:secret@bucket", "http://store/bucket"]
)
def test_an_object_store_of_another_kind_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_EXECUTOR__RAY__STORAGE", url)
    with pytest.raises(BadConfiguration, match="s3://BUCKET/PREFIX"):
        load(None)


def test_settings_of_an_object_store_that_do_nothing_are_problems() -> None:
    ray = RaySettings(base=Path("/models/base"))
    assert [one[0] for one in storage_problems(ExecutorSettings(kind="ray", ray=ray))] == [
        "[executor.ray] base"
    ]
    ray = RaySettings(storage="s3://bucket/prefix/", base=Path("/models/base"))
    assert {"--storage=s3://bucket/prefix", "--base=/models/base"} <= set(ray.command())
    assert not list(storage_problems(ExecutorSettings(kind="ray", ray=ray)))
    assert [one[1] for one in storage_problems(ExecutorSettings(ray=ray))] == ["builds do not run on Ray"]


def test_without_obstore_config_check_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    ray = RaySettings(storage="s3://bucket/prefix")
    (problem,) = storage_problems(ExecutorSettings(kind="ray", ray=ray))
    assert "kbsync[object-store]" in problem[1]
