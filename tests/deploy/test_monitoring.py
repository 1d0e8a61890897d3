"""Alerts and dashboard: Prometheus can read every expression, and kbsync serves every metric that they name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from kbsync.service.heartbeat import Heartbeat
from kbsync.service.metrics import METRICS, LedgerCollector
from tests.support.paths import REPOSITORY
from tests.support.promoted import Place

MONITORING = REPOSITORY / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "kbsync.rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "kbsync-dashboard.json").read_text(encoding="utf-8"))
TARGETS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")


def selectors(expression: Any) -> Iterator[Any]:
    """Every selector of a metric in a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector
    elif isinstance(expression, promql_parser.BinaryExpr):
        yield from selectors(expression.lhs)
        yield from selectors(expression.rhs)
    elif isinstance(expression, promql_parser.Call):
        for argument in expression.args:
            yield from selectors(argument)
    elif isinstance(expression, promql_parser.ParenExpr | promql_parser.AggregateExpr):
        yield from selectors(expression.expr)


def metrics_of(expression: str) -> set[str]:
    found = {selector.name for selector in selectors(promql_parser.parse(expression))}
    assert found, f"no metric is named in {expression}"
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_complete_and_asks_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert metrics_of(rule["expr"]) <= set(METRICS)
    assert "for" not in rule or DURATION.fullmatch(rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    for page in re.findall(r"docs/[\w-]+\.md", rule["annotations"]["description"]):
        assert (REPOSITORY / page).is_file(), page


def test_no_two_alerts_share_a_name() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("title", "expression"), TARGETS)
def test_a_panel_asks_for_metrics_that_exist(title: str, expression: str) -> None:
    assert title
    plain = expression.replace('"$job"', '".*"').replace('"$instance"', '".*"')
    assert metrics_of(plain) <= set(METRICS)


def test_a_misspelt_metric_or_expression_is_found() -> None:
    assert not metrics_of("kbsync_lag > 1 and rate(kbsync_no_such_metric[5m]) > 0") <= set(METRICS)
    with pytest.raises(ValueError, match=r"\S"):
        metrics_of("kbsync_paused ==")


def test_the_dashboard_shows_every_metric() -> None:
    text = json.dumps(DASHBOARD)
    assert [name for name in METRICS if not re.search(rf"{name}\b", text)] == []


def test_the_panels_lie_beside_each_other() -> None:
    places = []
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}", "whoever imports it chooses the data source"
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        places.append((panel["title"], at))
    for (one, a), (other, b) in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, f"{one} overlaps {other}"


def promtool(*arguments: str, text: str = "") -> str:
    """What Prometheus' own tool prints; skipped where it is not installed."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: Debian's package prometheus has it, and .ci/run fetches it")
    done = subprocess.run([tool, *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_reads_the_rules() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(MONITORING / "kbsync.rules.yaml"))


def test_prometheus_finds_nothing_to_object_to_in_the_metrics(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.promoted(Q1="Q10")
    registry, pulse = CollectorRegistry(), Heartbeat()
    pulse.beat()
    registry.register(LedgerCollector(place.application(), pulse))
    text = generate_latest(registry).decode()
    place.application().close()
    assert promtool("check", "metrics", text=text).strip() == ""


def test_an_alert_begins_and_ends_as_it_says(tmp_path: Path) -> None:
    """A loop that stands still for a quarter of an hour and goes on, as Prometheus evaluates the rules."""
    stalled = {
        "exp_labels": {"severity": "critical"},
        "exp_annotations": next(one for one in RULES if one["alert"] == "KbsyncLoopStalled")["annotations"],
    }
    at = {"4m": [], "20m": [stalled], "40m": []}
    story = {
        "rule_files": [str(MONITORING / "kbsync.rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": "kbsync_loop_heartbeat_age_seconds", "values": "0+60x25 0x20"},
                ],
                "alert_rule_test": [
                    {"eval_time": time, "alertname": "KbsyncLoopStalled", "exp_alerts": alerts}
                    for time, alerts in at.items()
                ],
            }
        ],
    }
    file = tmp_path / "story.yaml"
    file.write_text(yaml.safe_dump(story), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(file))
