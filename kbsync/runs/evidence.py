"""The evidence for a failed gate, stored in the event that quarantines a fact, since run directories are removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from editing.spec import BuildReport, FactReport
from kbsync.gates import Blame
from state.records import Move, Run

MOST_PROBES = 40
"""Maximum number of questions stored per fact."""


def bars(run: Run, blamed: Iterable[Blame], report: BuildReport, settings: str) -> list[Move]:
    """The moves that quarantine the blamed facts, each with its evidence; see `evidence_of`."""
    reports = {fact.id: fact for fact in report.facts}
    return [
        Move(
            int(item.fact),
            "quarantined",
            f"gate {item.gate}: {item.evidence} (run {run.id}, round {run.round})",
            evidence=evidence_of(run, item, reports[item.fact], settings),
            reason_code="gate",
            bars=True,
        )
        for item in blamed
    ]


def evidence_of(run: Run, blame: Blame, report: FactReport, settings: str) -> dict[str, Any]:
    """The figures, the answers and the questions behind `blame`.

    `settings` is the digest of the settings that the fact was judged under: under others it may pass.
    """
    return {
        "run": run.id,
        "round": run.round,
        "gate": blame.gate,
        "shortfall": blame.shortfall,
        "base": run.base,
        "settings": settings,
        "answers": {"base": report.base_answer, "live": report.live_answer, "candidate": report.answer},
        "alone": report.alone,
        "probes": [asdict(probe) for probe in report.probes[:MOST_PROBES]],
    }
