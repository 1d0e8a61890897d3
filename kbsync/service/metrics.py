"""The metrics of `/metrics`, read from the ledger at every scrape: the daemon keeps no counters to lose.

Labels are states, gates, sources and hooks, never a subject, an object or a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kbsync.application import Application
from kbsync.deployment.served import served
from kbsync.gates import is_judged
from kbsync.queries.freshness import freshness
from state.records import DeploymentState, FactStatus, RunState

if TYPE_CHECKING:
    from kbsync.service.heartbeat import Heartbeat
    from state import Snapshot

METRICS = {
    "kbsync_runs": "Runs by the state they are in; ends are deployed, rejected, failed, rolled_back",
    "kbsync_facts": "Facts by status",
    "kbsync_gate_value": "Value of each gate in the last round that was judged; NaN where the gate has none",
    "kbsync_gate_threshold": "What the gate's value, or its bound, was compared with",
    "kbsync_gate_passed": "1 where the gate passed, or could not be judged",
    "kbsync_gate_judged": "1 where the gate had cases, and a base that can answer such questions",
    "kbsync_source_lag_seconds": "Seconds since the source was last read with success, changed or not",
    "kbsync_source_failures": "Errors in a row since the source was last read with success",
    "kbsync_source_slots": "Slots that the source was ever read for",
    "kbsync_source_rejected_rows": "Rows of the source's latest reading that could not be used",
    "kbsync_freshness_seconds": "Seconds from a source's revision until it was served, as a quantile of its facts",
    "kbsync_freshness_within_objective": "Share of the source's facts that were served within [freshness] objective",
    "kbsync_freshness_budget": "What is left of the source's error budget: 1 all of it, below 0 the target is missed",
    "kbsync_deployments": "Rows of the outbox by state, of all promotions",
    "kbsync_served_version_matches": "1 where the server was last seen to serve what is live",
    "kbsync_served_as_judged": "0 where the server was last seen to serve something else than was judged",
    "kbsync_live_checkpoint": "Id of the live checkpoint; absent where nothing is live",
    "kbsync_live_age_seconds": "Seconds since the last promotion",
    "kbsync_check_ok": "1 where the last proof held: of the chain, anchors, tables, live's and base's bytes",
    "kbsync_check_age_seconds": "Seconds since it was proven last",
    "kbsync_audit_head": "Sequence number of the newest event",
    "kbsync_paused": "1 while an operator has paused the daemon",
    "kbsync_loop_heartbeat_age_seconds": "Seconds since the loop's last sign of life",
}
"""Every metric and its description; tests check that docs/metrics.md and the dashboard show them."""


class LedgerCollector(Collector):
    """One consistent snapshot of the ledger per scrape."""

    def __init__(self, app: Application, heartbeat: Heartbeat) -> None:
        self.app = app
        self.heartbeat = heartbeat

    def describe(self) -> list[Metric]:
        """Without this, registering would read the ledger once."""
        return [_gauge(name) for name in METRICS]

    def collect(self) -> Iterator[Metric]:
        with self.app.state.read() as tx:
            yield _counted("kbsync_runs", "state", get_args(RunState), tx.count_runs())
            yield _counted("kbsync_facts", "status", get_args(FactStatus), tx.count_facts())
            yield _counted("kbsync_deployments", "state", get_args(DeploymentState), tx.count_deployments())
            yield from _gates(tx)
            yield from self._live(tx)
            yield from self._sources(tx)
            yield from self._freshness(tx)
            yield from self._checks(tx)
            head = tx.head()
            yield _single("kbsync_audit_head", head.seq if head else 0)
            yield _single("kbsync_paused", tx.paused() is not None)
        matches = _gauge("kbsync_served_version_matches", "hook")
        judged = _gauge("kbsync_served_as_judged", "hook")
        for one in served(self.app):
            matches.add_metric([one.hook], one.matches)
            if one.as_judged is not None:
                judged.add_metric([one.hook], one.as_judged)
        yield from (matches, judged)
        yield _single("kbsync_loop_heartbeat_age_seconds", self.heartbeat.age_s)

    def _checks(self, tx: Snapshot) -> Iterator[Metric]:
        ok, age = _gauge("kbsync_check_ok", "check"), _gauge("kbsync_check_age_seconds", "check")
        for name, check in tx.checks().items():
            ok.add_metric([name], check.ok)
            age.add_metric([name], (self.app.now() - check.at).total_seconds())
        yield from (ok, age)

    def _live(self, tx: Snapshot) -> Iterator[Metric]:
        live = tx.live()
        if live is not None and live.promoted is not None:
            yield _single("kbsync_live_checkpoint", live.id)
            yield _single("kbsync_live_age_seconds", (self.app.now() - live.promoted).total_seconds())

    def _freshness(self, tx: Snapshot) -> Iterator[Metric]:
        seconds = _gauge("kbsync_freshness_seconds", "source", "quantile")
        within, budget = (
            _gauge(f"kbsync_freshness_{what}", "source") for what in ("within_objective", "budget")
        )
        for one in freshness(self.app, tx):
            seconds.add_metric([one.source, "0.5"], one.p50.total_seconds())
            seconds.add_metric([one.source, "0.95"], one.p95.total_seconds())
            within.add_metric([one.source], one.within)
            budget.add_metric([one.source], one.budget)
        yield from (seconds, within, budget)

    def _sources(self, tx: Snapshot) -> Iterator[Metric]:
        lag, failures, slots, rejected = (
            _gauge(f"kbsync_source_{what}", "source")
            for what in ("lag_seconds", "failures", "slots", "rejected_rows")
        )
        watched = tx.count_watched()
        for name, health in tx.source_health(sorted(self.app.settings.sources)).items():
            if health.succeeded is not None:
                lag.add_metric([name], max(0.0, (self.app.now() - health.succeeded).total_seconds()))
            failures.add_metric([name], health.failures)
            slots.add_metric([name], watched.get(name, 0))
            rejected.add_metric([name], health.rejected)
        yield from (lag, failures, slots, rejected)


def _gates(tx: Snapshot) -> Iterator[Metric]:
    value, threshold, passed, judged = (
        _gauge(f"kbsync_gate_{what}", "gate") for what in ("value", "threshold", "passed", "judged")
    )
    results = next((results for run in tx.runs(limit=20) if (results := tx.gate_results(run.id))), ())
    last = max((result.round for result in results), default=0)
    for result in (result for result in results if result.round == last):
        judged_here = is_judged(result)
        figure = result.value if judged_here else None
        value.add_metric([result.name], float("nan") if figure is None else figure)
        judged.add_metric([result.name], judged_here)
        threshold.add_metric([result.name], result.threshold)
        passed.add_metric([result.name], result.passed)
    yield from (value, threshold, passed, judged)


def _counted(name: str, label: str, known: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
    """A series for every possible state, since a series that does not exist yet cannot be alerted on."""
    gauge = _gauge(name, label)
    for state in known:
        gauge.add_metric([state], counts.get(state, 0))
    return gauge


def _single(name: str, value: float) -> Metric:
    gauge = _gauge(name)
    gauge.add_metric([], float(value))
    return gauge


def _gauge(name: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, METRICS[name], labels=labels)
