"""A verdict can be made again from the report and from what the log says of the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.spec import BuildReport, Cost, Measure
from kbsync.application import Application
from kbsync.cli import main
from kbsync.errors import NoInput, UsageError
from kbsync.gates import DEFAULT_GATES, judge_all
from kbsync.home import Home
from kbsync.runs.judging import basis_of, declarations, rejudge
from kbsync.settings.loading import load
from state.records import GateResult
from tests.support.ledgers import Clock, carried, fact, planned

MEASURES = (
    Measure("efficacy", 0.97, 100, 97),
    Measure("paraphrase", 0.9, 200, 180, exhaustive=False, by_fact=((45, 50), (135, 150))),
    Measure("retention", 0.95, 40, 38, live=0.96, live_k=39),
    Measure("perplexity_ratio", 1.01),
    Measure("weight_growth", 5.126, 80),
    Measure("kl_p99", 1.5, 30, live=1.25, unit="nats"),
)


@pytest.fixture
def app(tmp_path: Path, empty_ledger: Path) -> Application:
    """A run that was judged by the default gates; its report is on disk."""
    home = Home(tmp_path / "home").prepare()
    home.database.write_bytes(empty_ledger.read_bytes())
    app = Application(home, load(None, {}), now=Clock())
    with app.state.write() as tx:
        tx.put_facts([fact()], "test")
        run = carried(tx, planned(tx), "built")
    directory = home.round(run.id, 1).prepare()
    BuildReport("1-1", "b", "1-1", "d", (), MEASURES, Cost(), {}).write(directory.report)
    verdicts = judge_all(DEFAULT_GATES, MEASURES)
    results = [
        GateResult(1, 1, v.name, v.value, v.bound, v.threshold, v.n, v.passed, v.detail) for v in verdicts
    ]
    with app.state.write() as tx:
        tx.put_gate_results(
            1, results, basis=basis_of(app, directory), declared=declarations(DEFAULT_GATES, MEASURES)
        )
    return app


def put(app: Application, rule: int | None, bounds: dict[str, float]) -> None:
    """Log the verdicts again as a version with that rule did (None: one that recorded none), with these bounds."""
    verdicts = judge_all(DEFAULT_GATES, MEASURES)
    results = [
        GateResult(1, 1, v.name, v.value, bounds.get(v.name, v.bound), v.threshold, v.n, v.passed, v.detail)
        for v in verdicts
    ]
    declared = declarations(DEFAULT_GATES, MEASURES)
    for gate in declared.values():
        gate.pop("rule") if rule is None else gate.update(rule=rule)
    with app.state.write() as tx:
        basis = basis_of(app, app.home.round(1, 1))
        tx.put_gate_results(1, results, basis=basis, declared=declared)


def test_a_verdict_of_the_earlier_rule_is_made_again_by_that_rule(app: Application) -> None:
    put(app, None, {"paraphrase": 0.661503153550927})
    (found,) = rejudge(app, 1)
    assert found.differences == ()
    put(app, 2, {"paraphrase": 0.661503153550927})
    (found,) = rejudge(app, 1)
    assert [line.partition(" is ")[0] for line in found.differences] == ["paraphrase: bound"]


def test_a_verdict_of_a_newer_rule_is_left_to_the_version_that_has_it(app: Application) -> None:
    put(app, 99, {})
    with pytest.raises(UsageError, match="was judged by rule 99, which a newer version"):
        rejudge(app, 1)


def gates(app: Application) -> dict[str, Any]:
    with app.state.read() as tx:
        (event,) = tx.events(kind="run.gates")
    return json.loads(event.body)


def test_the_event_has_what_a_verdict_is_made_of(app: Application) -> None:
    body = gates(app)
    by_name = {gate["name"]: gate for gate in body["gates"]}
    assert set(body) >= {"report", "settings", "round", "digest"}
    assert {"k": 97, "n": 100, "threshold": 0.95, "direction": "at_least"}.items() <= by_name[
        "efficacy"
    ].items()
    assert by_name["paraphrase"]["bound"] < 0.9
    assert by_name["paraphrase"]["confidence"] == 0.95
    assert (by_name["weight_growth"]["passed"], by_name["weight_growth"]["bound"] < 1.5) == (True, True)
    assert (by_name["retention"]["live"], by_name["retention"]["margin"]) == (0.96, 0.02)


def test_the_same_report_gives_the_same_verdicts_whatever_the_settings_are_now(app: Application) -> None:
    (found,) = rejudge(app, 1)
    enabled = sum(gate.enabled for gate in DEFAULT_GATES)
    assert (found.round, found.gates, found.differences) == (1, enabled, ())
    assert found.report == gates(app)["report"]


def test_a_changed_report_is_named_with_the_verdicts_that_differ(app: Application) -> None:
    file = app.home.round(1, 1).report
    file.write_text(file.read_text().replace("0.97", "0.98"))
    (found,) = rejudge(app, 1)
    assert [line.partition(" is ")[0] for line in found.differences] == [
        "the SHA-256 of report.json", "efficacy: value", "efficacy: bound",
    ]  # fmt: skip


def test_what_cannot_be_judged_again_says_why(app: Application) -> None:
    app.home.round(1, 1).report.unlink()
    with pytest.raises(NoInput, match="the report of run 1, round 1 is gone"):
        rejudge(app, 1)
    with pytest.raises(UsageError, match="run 7 was not judged"):
        rejudge(app, 7)


def test_a_run_shows_what_was_measured_for_gates_that_are_off(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.close()
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(app.home.root), "runs", "1"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "kl_p99" in line]
    assert all(text in line for text in ("1.500", "1.250", "\u2264 2", "30"))
    app.home.round(1, 1).report.write_text("{", encoding="utf-8")
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(app.home.root), "runs", "1"])
    shown = capsys.readouterr()
    assert "cannot be shown" in shown.out + shown.err
