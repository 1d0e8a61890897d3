"""The process that directs a build on a cluster: what it says without Ray, and that it never waits forever."""

from __future__ import annotations

import json
import sys
import threading
from io import StringIO

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
from kbsync.settings.loading import load


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
