"""The plot of `chat_scaling.py`: what n edits at once cost, and the subject's other relations against paraphrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbsync.experiments.drawing import COLOURS

DEFAULTS = {"kl": 0.0625, "variants": 0, "statistics": "own-96"}
"""Of the rows that curves are drawn through."""
CURVES = {
    "strict": "facts stated",
    "S": "S",
    "paraphrases": "paraphrases",
    "neighbours": "neighbours",
    "own_relations": "other relations",
    "same_fact": "other conversations name the same",
}
AIM = (0.8, 0.8)
"""(other relations, paraphrases) that are aimed at."""


def plot(rows: Sequence[Mapping[str, Any]], path: Path, stated: float) -> None:
    """A panel along n, at λ from leverage, and one with every setting at n = 30 and n = 100.

    `stated`: the share of what is true that the base states, asked in the wordings of the paraphrases.
    """
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8))
    for panel in (left, right):
        panel.set_prop_cycle(color=COLOURS)
    plain = [row for row in rows if all(row[name] == value for name, value in DEFAULTS.items())]
    along = sorted((row for row in plain if row["times"] == 1 and not row["keep"]), key=lambda row: row["n"])
    for name, label in CURVES.items():
        left.plot([row["n"] for row in along], [row[name] for row in along], "o-", label=label)
    left.set(xscale="log", xlabel="edits at once", ylabel="share", ylim=(0, 1.05))
    left.set_title("λ from leverage, nothing kept")
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    for n, marker in ((30, "o-"), (100, "s--")):
        for keep in sorted({row["keep"] for row in plain if row["n"] == n}):
            line = sorted(
                (row for row in plain if row["n"] == n and row["keep"] == keep), key=lambda row: row["times"]
            )
            at = [row["own_relations"] for row in line], [row["paraphrases"] for row in line]
            right.plot(*at, marker, label=f"{n} edits, keep {keep:g}")
            for row in line:
                place = row["own_relations"], row["paraphrases"]
                right.annotate(
                    f"{row['times']:g}", place, textcoords="offset points", xytext=(4, 4), fontsize=7
                )
    other = [row for row in rows if row["variants"] != DEFAULTS["variants"]]
    if other:
        at = [row["own_relations"] for row in other], [row["paraphrases"] for row in other]
        right.plot(*at, "k+", label="with a further wording")
    right.axvline(AIM[0], color="grey", lw=0.8)
    right.axhline(AIM[1], color="grey", lw=0.8)
    right.axhline(stated, color="grey", lw=0.8, ls=":", label="true facts, by the base")
    right.set(
        xlabel="other relations of the subject, not kept", ylabel="paraphrases", xlim=(0, 1), ylim=(0, 1)
    )
    right.set_title("λ as a multiple of that of leverage")
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
