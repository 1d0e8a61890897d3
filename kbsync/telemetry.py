"""OpenTelemetry traces, as the extra `otel`: off unless `[tracing] endpoint` is set, and then nothing is imported.

A span covers a cycle, the reading of one source, admission, each step of a run (build, judge, promote, deploy), each
phase that the worker reports of a build, and each request to a server.  The worker process and the servers receive the
context of the current span in the form of W3C Trace Context (https://www.w3.org/TR/trace-context/): as variables
TRACEPARENT and TRACESTATE, and as headers.  No attribute holds a subject, an object or a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kbsync import __version__
from kbsync.errors import BadConfiguration

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from editing.progress import TimedProgress

Attribute = str | int | float | bool


_tracer: Tracer | None = None
"""None: tracing is off."""


def missing() -> str:
    """The first package that tracing needs and that is not installed; empty if all are."""
    packages = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")
    return next((name for name in packages if find_spec(name) is None), "")


@contextmanager
def tracing(endpoint: str | None) -> Iterator[None]:
    """Export spans to an OTLP/HTTP endpoint for the duration of the block; None: no spans.

    Headers, certificates and time limits come from OpenTelemetry's own variables, such as
    OTEL_EXPORTER_OTLP_HEADERS.  Raises BadConfiguration if its packages are not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"[tracing] endpoint needs the package {error.name}",
            "install the packages with `pip install 'kbsync[otel]'`, or remove the section",
        ) from error
    with exporting(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))):
        yield


@contextmanager
def exporting(processor: Any) -> Iterator[None]:
    """Give spans to an OpenTelemetry span processor for the duration of the block; then send what is left."""
    global _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": "kbsync", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    before, _tracer = _tracer, provider.get_tracer("kbsync", __version__)
    try:
        yield
    finally:
        _tracer = before
        provider.shutdown()


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[None]:
    """A span for the duration of the block; one that an exception leaves is marked as failed, without its text."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import StatusCode

    named = {f"kbsync.{key}": value for key, value in attributes.items()}
    with _tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            # A message may quote what a source states; the class's name does not.
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise


@contextmanager
def phases(progress: TimedProgress) -> Iterator[TimedProgress]:
    """Progress that is passed on to `progress`, with a span for each phase that is reported within the block.

    A phase lasts until another one is reported; those that take turns have a span each time.
    """
    tracer = _tracer
    if tracer is None:
        yield progress
        return
    current: tuple[str, Span] | None = None

    def noted(phase: str, done: int, total: int, left_s: float | None) -> None:
        nonlocal current
        if current is None or current[0] != phase:
            if current is not None:
                current[1].end()
            current = phase, tracer.start_span(f"worker {phase}")
        current[1].set_attributes({"kbsync.done": done, "kbsync.total": total})
        progress(phase, done, total, left_s)

    try:
        yield noted
    finally:
        if current is not None:
            current[1].end()


def note(**attributes: Attribute) -> None:
    """Add attributes to the current span."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes({f"kbsync.{key}": value for key, value in attributes.items()})


def headers() -> Mapping[str, str]:
    """The current span's context as headers of a request; empty if tracing is off."""
    if _tracer is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(found)
    return found


def environment() -> Mapping[str, str]:
    """The current span's context as variables of a process; empty if tracing is off."""
    return {name.upper(): value for name, value in headers().items()}
