"""The kinds of events are declared once, documented, and all that is written is among them."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from state.event_kinds import EventKind
from state.records import (
    AttemptOutcome,
    CheckpointStatus,
    Decision,
    DeploymentState,
    FactStatus,
    RequestState,
    RunState,
)
from tests.support.paths import REPOSITORY

KINDS = get_args(EventKind)
PAGE = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
STATES = {
    "fact": get_args(FactStatus),
    "run": get_args(RunState),
    "request": get_args(RequestState),
    "deployment": get_args(DeploymentState),
}
WRITTEN = re.compile(r'(?:NewEvent|emit)\(\s*"([a-z_.]+)"')


def test_no_kind_is_declared_twice() -> None:
    assert len(KINDS) == len(set(KINDS))


def test_every_kind_is_documented_and_nothing_else() -> None:
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.M)) == sorted(KINDS)


@pytest.mark.parametrize("noun", STATES)
def test_every_state_has_its_kind(noun: str) -> None:
    assert [state for state in STATES[noun] if f"{noun}.{state}" not in KINDS] == []


def test_every_outcome_and_decision_has_its_kind() -> None:
    ends = [outcome for outcome in get_args(AttemptOutcome) if outcome != "running"]
    assert [end for end in ends if f"attempt.{end}" not in KINDS] == []
    made = [decision for decision in get_args(Decision) if decision != "barred"]  # a move, not an event
    assert [decision for decision in made if f"fact.{decision}" not in KINDS] == []
    left = [status for status in get_args(CheckpointStatus) if status not in ("candidate", "live")]
    assert [status for status in left if f"checkpoint.{status}" not in KINDS] == []


@pytest.mark.parametrize("package", ["state", "kbsync"])
def test_every_kind_that_is_written_is_declared(package: str) -> None:
    files = (REPOSITORY / package).rglob("*.py")
    written = {kind for file in files for kind in WRITTEN.findall(file.read_text(encoding="utf-8"))}
    assert written
    assert written - set(KINDS) == set(), "declare it in state/event_kinds.py, describe it in docs/events.md"
