"""What follows a round that failed its gates: which facts leave, which are tried again, and advice.

A fact that works when its δ is injected alone may fail because of the other edits.  If a large share of a round is
blamed, the facts that fail even alone leave first, and the other blamed facts are tried again without them, within
the run's budget of rounds.  If no single fact is the cause at all, the facts that passed are built without the
rest.  Pure functions of the measurements.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from editing.spec import BuildReport
from kbsync.gates import Blame

BAD_ROUND = 0.25
"""If a larger share of the new facts is blamed, their combination is suspected."""
SPREAD_LOSS = 0.1
"""Minimum share of new facts lost in the spread for which advice is given."""


def condemned(
    report: BuildReport, blamed: Sequence[Blame], new: Collection[str], left: int
) -> tuple[Blame, ...]:
    """Those of `blamed` (worst first) that leave now; the others are tried again without them.

    `left` is the number of rounds that may still be built.  A second try needs two of them: one that may fail, and one
    without the facts that failed.  If the share of blamed facts is small, all of them leave at once.
    """
    if left < 2 or len(blamed) <= BAD_ROUND * len(new):
        return tuple(blamed)
    alone = {fact.id: fact.alone for fact in report.facts}
    bad = tuple(item for item in blamed if alone[item.fact] is not True)
    return bad or tuple(blamed[: (len(blamed) + 1) // 2])


def spread_loss(report: BuildReport, new: Collection[str]) -> str:
    """How many new facts work when their δ is injected alone, and how many the spread loses, as a sentence.

    Empty if none was tested alone, or if few are lost.
    """
    asked = [
        fact
        for fact in report.facts
        if fact.id in new and not fact.known and fact.alone is not None and fact.efficacy is not None
    ]
    if not asked:
        return ""
    alone = sum(fact.alone is True for fact in asked) / len(asked)
    lost = sum(fact.alone is True and fact.efficacy is False for fact in asked) / len(asked)
    figures = f"the δs work alone for {alone:.0%} of the new facts"
    if lost >= SPREAD_LOSS:
        return f"{figures}, the spread over the layers loses {lost:.0%}: set a lower `lam` in [edit]"
    if alone < 1 - SPREAD_LOSS:
        return f"{figures}, and the spread loses {lost:.0%}: raise `steps` or `clamp` in [edit]"
    return ""
