"""One report from those of shares.  Free of Ray and torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from editing.cost import Cost
from editing.spec import BuildReport, BuildSpec


def merged(
    spec: BuildSpec, spec_digest: str, reports: Sequence[BuildReport], *, seconds: float
) -> BuildReport:
    """The report of a round that only asked the base, from the reports of its shares, in the order of the facts."""
    found = {fact.id: fact for report in reports for fact in report.facts}
    memory = max(report.cost.peak_memory_bytes for report in reports)
    return replace(
        reports[0],
        facts=tuple(found[fact.id] for fact in spec.facts if fact.id in found),
        failures=tuple(failure for report in reports for failure in report.failures),
        cost=Cost(peak_memory_bytes=memory, seconds={"known": seconds, "total": seconds}),
        spec_digest=spec_digest,
    )
