"""Traces: which spans a cycle has, what they are children of, who receives their context, and that off is off."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from editing.spec import SPEC_VERSION
from kbsync import telemetry
from kbsync.deployment.http import Server
from kbsync.errors import BadConfiguration
from kbsync.executor import LocalExecutor, WorkerFailed
from kbsync.queries.config_check import check_settings
from kbsync.service.cycle import cycle
from kbsync.settings.loading import load
from tests.support.micro import make
from tests.support.scripted import Scripted
from tests.support.stand_ins import Sglang, listening


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    with telemetry.exporting(SimpleSpanProcessor(made)):
        yield made


def parents(spans: tuple[ReadableSpan, ...]) -> dict[str, str | None]:
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


def test_a_cycle_is_one_trace_from_the_source_to_the_promotion(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    world = make(tmp_path, thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")
    world.say({"Blue House": "Anna"})
    with world.application() as app, app.leading() as leadership:
        (run,) = cycle(app, leadership, trigger="test", worker=Scripted()).runs
    assert run.state == "deployed"
    spans = exporter.get_finished_spans()
    found = parents(spans)
    assert found["cycle"] is None
    assert found["read source"] == "cycle"
    assert found["admit"] in ("read source", "cycle")
    assert {found[step] for step in ("start", "build", "judge", "decide", "promote", "deploy")} == {"cycle"}
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    (build,) = (span for span in spans if span.name == "build")
    assert dict(build.attributes or {}) == {"kbsync.run": run.id, "kbsync.round": run.round}
    text = " ".join(span.to_json() for span in spans)
    assert "Anna" not in text
    assert "Blue House" not in text


def test_a_span_that_an_exception_leaves_is_marked_without_what_it_says(
    exporter: InMemorySpanExporter,
) -> None:
    with pytest.raises(ValueError, match="secret"), telemetry.span("work"):
        raise ValueError("secret")
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert "secret" not in span.to_json()


def test_a_worker_and_a_server_receive_the_context(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import os; print('{}', flush=True); print(os.environ['TRACEPARENT'])")
    with telemetry.span("build"), LocalExecutor(command=command).worker(tmp_path / "log") as worker:
        worker.prepare(None)
        lines = [worker._lines.get(timeout=60) for _ in range(2)]  # type: ignore[attr-defined]
        header = telemetry.headers()["traceparent"]
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert header.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-0")
    assert lines[1].strip() == header


def test_each_phase_of_the_worker_is_a_span_of_the_build(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """A worker process that reports the phases of a build, two of which take turns, and then fails."""
    script = (
        "import json, sys\n"
        "say = lambda **event: print(json.dumps(event), flush=True)\n"
        f"say(event='ready', version={SPEC_VERSION})\n"
        "sys.stdin.readline()\n"
        "for phase, done in (('targets', 0), ('targets', 2), ('keys', 1), ('solve', 1), ('keys', 2)):\n"
        "    say(event='progress', phase=phase, done=done, total=2)\n"
        "say(event='error', kind='data', message='secret', retry=False)\n"
    )
    shown: list[tuple[str, int, int]] = []
    executor = LocalExecutor(command=(sys.executable, "-c", script))
    with (
        executor.worker(tmp_path / "log") as worker,
        pytest.raises(WorkerFailed),
        telemetry.span("build"),
    ):
        worker.execute(
            tmp_path / "spec.json", lambda phase, done, total, left: shown.append((phase, done, total))
        )
    *phases, build = exporter.get_finished_spans()
    assert [(span.name, (span.attributes or {})["kbsync.done"]) for span in phases] == [
        ("worker targets", 2),
        ("worker keys", 1),
        ("worker solve", 1),
        ("worker keys", 2),
    ]
    assert build.context is not None
    assert {span.parent.span_id for span in phases if span.parent} == {build.context.span_id}
    assert all(one.end_time <= other.start_time for one, other in pairwise(phases))  # type: ignore[operator]
    assert len(shown) == 5
    assert "secret" not in " ".join(span.to_json() for span in phases)


def test_spans_reach_an_otlp_collector() -> None:
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with (
            telemetry.tracing(f"http://127.0.0.1:{server.server_port}/v1/traces"),
            telemetry.span("cycle"),
        ):
            pass
        server.shutdown()
        thread.join()
    (body,) = bodies
    request = ExportTraceServiceRequest.FromString(body)
    (resource,) = request.resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}[
        "service.name"
    ] == "kbsync"
    assert [span.name for span in resource.scope_spans[0].spans] == ["cycle"]


def test_a_request_to_a_server_has_a_span_and_carries_its_context(exporter: InMemorySpanExporter) -> None:
    with listening(Sglang()) as server, telemetry.span("deploy"):
        Server(f"{server.url}/?token=secret", None, 60.0).get("/model_info")
    request, deploy = exporter.get_finished_spans()
    assert request.name == "GET"
    assert request.parent is not None
    assert deploy.context is not None
    assert request.parent.span_id == deploy.context.span_id
    assert "secret" not in request.to_json()


def test_off_costs_nothing_and_imports_nothing() -> None:
    code = (
        "import sys\nfrom kbsync import telemetry\n"
        "with telemetry.tracing(None), telemetry.span('cycle', run=1):\n"
        "    telemetry.note(x=1)\n    assert telemetry.headers() == telemetry.environment() == {}\n"
        "import kbsync.service.cycle\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(BadConfiguration, match=r"\[tracing\] endpoint needs") as refused,
        telemetry.tracing("http://127.0.0.1:9/v1/traces"),
    ):
        pass
    assert "kbsync[otel]" in str(refused.value.advice)


def test_the_check_of_the_settings_names_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(tmp_path, extra="[tracing]\nendpoint = 'http://127.0.0.1:9/v1/traces'\n")
    with world.application() as app:
        assert check_settings(app).problems == ()
        found = telemetry.find_spec
        monkeypatch.setattr(
            telemetry, "find_spec", lambda name: None if name == "opentelemetry.sdk" else found(name)
        )
        (problem,) = check_settings(app).problems
    assert (problem.where, problem.what) == ("[tracing] endpoint", "it needs the package opentelemetry.sdk")


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector/", "http://ada:secret@collector/"])
def test_an_endpoint_is_an_http_url_without_a_password(tmp_path: Path, url: str) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(f"[tracing]\nendpoint = '{url}'\n", encoding="utf-8")
    with pytest.raises(BadConfiguration, match=r"tracing.endpoint") as refused:
        load(file, {})
    assert "secret" not in str(refused.value)
