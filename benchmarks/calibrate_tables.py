"""The tables and the plot of `benchmarks/calibrate.py`, from the parts that it and `hand_search.py` have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLUMNS = (
    "S",
    "efficacy",
    "paraphrase",
    "neighbourhood",
    "same_subject",
    "known_retention",
    "perplexity_ratio",
)
ROWS = ("old defaults", "leverage only", "kbsync-edit.json", "by hand", "calibrated")
"""In the order of the table."""
BY_HAND = "-by-hand"


def parts(directory: Path) -> dict[str, dict[str, Any]]:
    """Model → what is known of it, with the rows of both programs."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(directory.glob("calibrate-*.json")):
        part = json.loads(file.read_text("utf-8"))
        name = file.stem.removeprefix("calibrate-").removesuffix(BY_HAND)
        model = found.setdefault(name, {"rows": {}})
        model["rows"] |= part["rows"]
        model["by hand" if file.stem.endswith(BY_HAND) else "calibration"] = part
    for model in found.values():
        model["rows"] = {name: model["rows"][name] for name in ROWS if name in model["rows"]}
    return found


def table(results: dict[str, Any]) -> str:
    """The rows of all models as Markdown, with the interval of S."""
    lines = [f"| model | settings | λ | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for model, result in results.items():
        for name, row in result["rows"].items():
            cells = [f"{row[column]:.2f}" if column in row else "" for column in COLUMNS]
            if "S" in row.get("intervals", {}):
                low, high = row["intervals"]["S"]
                cells[0] = f"{row['S']:.3f} ({low:.2f} to {high:.2f})"
            lines.append(f"| {model} | {name} | {row['lam']:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def effort(results: dict[str, Any]) -> str:
    """What the searches took, as Markdown."""
    lines = [
        "| model | facts known | edits to search, check, test | trials | minutes | by hand: points | minutes "
        "| machine |",
        "|---" * 8 + "|",
    ]
    for model, result in results.items():
        found, hand = result.get("calibration"), result.get("by hand")
        cells = ["", "", "", ""]
        if found is not None:
            edits = ", ".join(str(found["edits"][name]) for name in ("search", "check", "test"))
            known = f"{found['known']} of {found['given']}"
            cells = [known, edits, str(len(found["trials"])), f"{found['seconds'] / 60:.1f}"]
        cells += [str(len(hand["points"])), f"{hand['seconds'] / 60:.1f}"] if hand else ["", ""]
        machine = (found or hand)["machine"]
        lines.append(f"| {model} | {' | '.join(cells)} | {machine['device']}, {machine['threads']} threads |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], file: Path) -> None:
    """S, strict efficacy, paraphrases, neighbours and the subject's other relations of each model, by settings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(results), figsize=(5 * len(results), 3.6), layout="constrained", squeeze=False
    )
    for axis, (model, result) in zip(axes[0], results.items(), strict=True):
        width = 0.8 / max(1, len(result["rows"]))
        for number, (name, row) in enumerate(result["rows"].items()):
            values = [row.get(column, 0.0) for column in COLUMNS[:5]]
            axis.bar([index + width * number for index in range(5)], values, width=width, label=name)
        axis.set_xticks([index + 0.3 for index in range(5)], COLUMNS[:5], rotation=25, ha="right")
        axis.set_title(model)
        axis.set_ylim(0, 1.05)
        axis.legend(fontsize=7)
    figure.savefig(file)
    pyplot.close(figure)


def publish(directory: Path) -> str:
    """Write table and plot beside the parts; returns the tables."""
    results = parts(directory)
    text = f"{table(results)}\n{effort(results)}"
    (directory / "calibrate.md").write_text(text, encoding="utf-8")
    if results:
        plot(results, directory / "calibrate.svg")
    return text
