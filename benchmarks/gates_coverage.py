"""How often the bounds of sampled gates hold: `python -m benchmarks.gates_coverage`.

Simulated exams: so many facts, each asked four questions, or one to eight; the answers about a fact are correlated
(beta-binomial).  A 95 % bound should hold in 95 % of them.  Where so few answers are wrong that samples without any are
common, no bound can: the best sample alone is more than 7 % of all, so a bound holds always, or in under 93 %.  Writes
`gates-coverage.json` and `.svg` under benchmarks/results; `benchmarks.gates_tables` puts them into docs/gates.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbsync.gates import clustered_bound, paired_bound

RESULTS = Path(__file__).parent / "results"
FACTS = (10, 20, 30, 60, 100, 200)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
LOST = (0.02, 0.05, 0.1, 0.2)
"""Shares of its answers that a candidate loses in the simulated comparisons with live; it gains a third of that."""
CORRELATIONS = (0.0, 0.1, 0.3, 0.6)
EXAMS = 2_000
SEED = 7
BEST = 0.07
"""Where a sample without a miss is likelier than this, no bound holds in 93 to 97 % of samples."""

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of exam, and the share of its samples in which the bound holds."""

    bound: str
    facts: int
    questions: str
    correlation: float
    share: float
    """The true share; of a pair, live's, and the candidate's is 0.05 less."""
    holds: float
    best: float
    """The share of samples without a miss (or, of pairs, without a difference)."""

    @property
    def possible(self) -> bool:
        """Whether any bound could hold in 93 to 97 % of the samples."""
        return self.best <= BEST


def exams(
    share: float, correlation: float, facts: int, *, varied: bool, rng: np.random.Generator, count: int
) -> tuple[Numbers, Numbers, Numbers]:
    """(asked, answered as expected, each fact's own share) of `count` exams, each (count, facts)."""
    asked = rng.integers(1, 9, size=(count, facts)) if varied else np.full((count, facts), 4)
    own = np.full(asked.shape, share)
    if correlation:
        scale = (1 - correlation) / correlation
        own = rng.beta(share * scale, (1 - share) * scale, size=asked.shape)
    return asked, rng.binomial(asked, own), own


def of_share(facts: int, correlation: float, share: float, *, varied: bool, count: int = EXAMS) -> Cell:
    """How often the lower bound of a share holds."""
    asked, hits, _ = exams(
        share, correlation, facts, varied=varied, rng=np.random.default_rng(SEED), count=count
    )
    samples = np.stack([hits, asked], axis=-1).tolist()
    held = sum(clustered_bound([(k, n) for k, n in one], 0.95, "at_least") <= share for one in samples)
    best = float((hits == asked).all(axis=1).mean())
    return Cell("share", facts, "1 to 8" if varied else "4", correlation, share, held / count, best)


def of_difference(facts: int, correlation: float, lost: float, *, varied: bool, count: int = EXAMS) -> Cell:
    """How often the lower bound of a difference holds: the candidate loses `lost` of the answers and gains a third."""
    rng = np.random.default_rng(SEED)
    asked, gone, _ = exams(lost, correlation, facts, varied=varied, rng=rng, count=count)
    _, gained, _ = exams(lost / 3, correlation, facts, varied=False, rng=rng, count=count)
    gained = np.minimum(rng.binomial(asked - gone, np.minimum(lost / 3 / (1 - lost), 1)), asked - gone)
    truth = -lost + lost / 3
    samples = np.stack([asked, gained, gone], axis=-1).tolist()
    held = sum(
        paired_bound([(n, up, down) for n, up, down in one], 0.95, "at_least") <= truth for one in samples
    )
    best = float(((gained == 0) & (gone == 0)).all(axis=1).mean())
    return Cell("difference", facts, "1 to 8" if varied else "4", correlation, lost, held / count, best)


def cells(count: int = EXAMS) -> Iterator[Cell]:
    for facts in FACTS:
        for varied in (False, True):
            for correlation in CORRELATIONS:
                for share in SHARES:
                    yield of_share(facts, correlation, share, varied=varied, count=count)
                for lost in LOST:
                    yield of_difference(facts, correlation, lost, varied=varied, count=count)


def table(rows: Sequence[Cell]) -> str:
    """In Markdown, the lowest and highest share over the correlations, of the cells in which 93 to 97 % is possible."""
    lines = [
        "| bound of | facts | " + " | ".join(f"{share:g}" for share in SHARES) + " |",
        "|---|---|" + "---|" * len(SHARES),
    ]
    for bound, shares in (("share", SHARES), ("difference", LOST)):
        if bound == "difference":
            lines.append("| | | " + " | ".join(f"−{share * 2 / 3:.3f}" for share in LOST) + " | | |")
        for facts in FACTS:
            own = [row for row in rows if (row.bound, row.facts) == (bound, facts)]
            cells = [_cell([row for row in own if row.share == share]) for share in shares]
            lines.append(
                f"| {bound} | {facts} | " + " | ".join(cells + [""] * (len(SHARES) - len(cells))) + " |"
            )
    return "\n".join(lines) + "\n"


def _cell(rows: Sequence[Cell]) -> str:
    held = sorted(100 * row.holds for row in rows if row.possible)
    return f"{held[0]:.0f}–{held[-1]:.0f}" if held else "*100*"


def plot(rows: Sequence[Cell], path: Path) -> None:
    """The share of samples in which the bound of a share holds, against the true share."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(CORRELATIONS), figsize=(13, 3.4), sharey=True)
    for axes, correlation in zip(panels, CORRELATIONS, strict=True):
        for facts in FACTS:
            own = [
                row
                for row in rows
                if (row.bound, row.facts, row.questions, row.correlation)
                == ("share", facts, "4", correlation)
            ]
            axes.plot(
                [row.share for row in own], [row.holds for row in own], "o-", ms=3, label=f"{facts} facts"
            )
        axes.axhspan(0.93, 0.97, alpha=0.15)
        axes.set(title=f"correlation {correlation:g}", xlabel="true share", ylim=(0.85, 1.005))
    panels[0].set_ylabel("the 95 % bound holds")
    panels[-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exams", type=int, default=EXAMS, help="simulated exams of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = list(cells(options.exams))
    name = options.out / "gates-coverage"
    written = json.dumps({"exams": options.exams, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
    name.with_suffix(".json").write_text(written, encoding="utf-8")
    plot(rows, name.with_suffix(".svg"))
    print(table(rows))


if __name__ == "__main__":
    main()
