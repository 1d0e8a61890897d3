"""The worker is asked again where that can help, and the ledger has every attempt with what befell it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from editing.errors import FailureKind
from kbsync.executor import WorkerFailed
from kbsync.runs.attempts import OUTCOMES
from kbsync.runs.questions import base_knowledge
from kbsync.service.cycle import CycleReport, cycle
from kbsync.service.reading import pull
from state.records import AttemptOutcome
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    return make(tmp_path, thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")


def read(micro: Micro) -> None:
    with micro.application() as app:
        pull(app)


def synced(micro: Micro, failures: list[FailureKind]) -> CycleReport:
    """One cycle in which the base is asked without trouble, and the builds fail as listed."""
    micro.now += timedelta(hours=1)
    with micro.application() as app, app.leading() as leadership:
        worker = Scripted()
        with app.state.read() as tx:
            facts = tx.wanted()
        base_knowledge(app, leadership, worker, facts)
        worker.failures = failures
        return cycle(app, leadership, trigger="test", worker=worker)


def test_every_way_to_fail_has_an_outcome_in_the_ledger() -> None:
    kinds, outcomes = set(get_args(FailureKind)), set(get_args(AttemptOutcome))
    assert OUTCOMES.keys() == kinds
    assert set(OUTCOMES.values()) == outcomes - {"running", "succeeded", "lost"}
    assert all(OUTCOMES[kind] == kind for kind in kinds & outcomes)


@pytest.mark.parametrize("kind", ["killed", "hung", "out_of_memory", "internal"])
def test_an_attempt_that_failed_keeps_its_kind_and_the_next_one_succeeds(
    micro: Micro, kind: FailureKind
) -> None:
    micro.say({"Blue House": "Anna"})
    read(micro)
    report = synced(micro, [kind])
    assert [run.state for run in report.runs] == ["deployed"]
    with micro.application() as app, app.state.read() as tx:
        first, second = tx.attempts(report.runs[0].id)
    assert (first.outcome, json.loads(first.evidence)["kind"]) == (OUTCOMES[kind], kind)
    assert second.outcome == "succeeded"


def test_a_question_is_asked_as_often_as_a_build(micro: Micro) -> None:
    micro.say({"Blue House": "Anna"})
    read(micro)
    with micro.application() as app, app.leading() as leadership:
        with app.state.read() as tx:
            facts = tx.wanted()
        most = app.settings.executor.attempts
        with pytest.raises(WorkerFailed):
            base_knowledge(app, leadership, Scripted(["killed"] * most), facts)
        worker = Scripted(["killed"] * (most - 1))
        assert base_knowledge(app, leadership, worker, facts).known.keys() == {fact.id for fact in facts}
        assert worker.failures == []


def test_a_question_that_no_other_try_can_help_is_asked_once(micro: Micro) -> None:
    micro.say({"Blue House": "Anna"})
    read(micro)
    with micro.application() as app, app.leading() as leadership:
        with app.state.read() as tx:
            facts = tx.wanted()
        worker = Scripted(["data", "killed"])
        with pytest.raises(WorkerFailed):
            base_knowledge(app, leadership, worker, facts)
        assert worker.failures == ["killed"]
