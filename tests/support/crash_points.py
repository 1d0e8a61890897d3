"""The crash points, read from the code, so that a new one cannot be left out of the tests."""

from __future__ import annotations

import ast

from kbsync.runs.ending import ENDS
from state.runs import NEXT
from tests.support.paths import REPOSITORY

ELSEWHERE = {
    "editing.bases:before-rename": "first",
    "kbsync.promotion:after-rollback-commit": "rollback",
    "kbsync.lifecycle:after-awaiting_review": "approve",
    "kbsync.archiving:after-state": "archive",
    "kbsync.archiving:after-segment": "archive",
    "kbsync.archiving:after-event": "archive",
    "kbsync.archiving:after-page": "archive",
    "kbsync.archiving:after-end": "archive",
}
"""Points that an ordinary cycle does not pass; all others have to be passed by one."""


def crash_points() -> list[str]:
    """The names in every call of `crash_point`; a name made of a run's state counts for each state."""
    found: set[str] = set()
    for room in ("connectors", "editing", "kbsync", "state"):
        for file in (REPOSITORY / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if "crash_point(" not in text:
                continue  # parsing every module takes seconds, and every process that collects the tests does it
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "crash_point":
                    found.update(_names(node.args[0]))
    return sorted(found)


def _names(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    assert isinstance(argument, ast.JoinedStr), f"not a name: {ast.unparse(argument)}"
    assert ast.unparse(argument) == "f'kbsync.lifecycle:after-{before[0]}'"
    return [f"kbsync.lifecycle:after-{state}" for state in NEXT if state not in ENDS]


CYCLE = [point for point in crash_points() if point not in ELSEWHERE]
