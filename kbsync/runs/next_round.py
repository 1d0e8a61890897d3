"""What follows from a round that failed its gates: who leaves, who is tried again, and what the figures say.

A fact whose δ states it when injected alone may fail beside others because of the others.  Where a large
share of a round is blamed, the facts that fail even alone leave first, and the rest of the blamed ones are
tried again without them, while the run's budget of rounds lasts.  Where the fault is in no single fact at all,
those that passed are built without the rest.  Pure functions of what was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from editing.spec import BuildReport
from kbsync.gates import Blame

BAD_ROUND = 0.25
"""Where a larger share of the new facts is blamed, their combination is suspected."""
SPREAD_LOSS = 0.1
"""From this share of the new facts on, losing them in the spread is worth advice."""


def condemned(
    report: BuildReport, blamed: Sequence[Blame], new: Collection[str], left: int
) -> tuple[Blame, ...]:
    """Those of `blamed` (the worst first) that leave now; the others are tried again without them.

    `left` is how many rounds may still be built.  A second try needs two of them: one to fail in, and one to
    be left out of.  In a round that is not bad, everything that is blamed leaves at once.
    """
    if left < 2 or len(blamed) <= BAD_ROUND * len(new):
        return tuple(blamed)
    alone = {fact.id: fact.alone for fact in report.facts}
    bad = tuple(item for item in blamed if alone[item.fact] is not True)
    return bad or tuple(blamed[: (len(blamed) + 1) // 2])


def spread_loss(report: BuildReport, new: Collection[str]) -> str:
    """What the δ's of the new facts do alone and what spreading them over the layers loses, as a sentence.

    Empty where nothing was asked alone, or where little is lost.
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
    figures = f"the δ's work alone for {alone:.0%} of the new facts"
    if lost >= SPREAD_LOSS:
        return f"{figures}, the spread over the layers loses {lost:.0%}: set a lower `lam` in [edit]"
    if alone < 1 - SPREAD_LOSS:
        return f"{figures}, and the spread loses {lost:.0%}: raise `steps` or `clamp` in [edit]"
    return ""
