"""The tables and the plot of `benchmarks/calibrate.py`, from the parts that it and `hand_search.py` have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kbsync.experiments.drawing import COLOURS

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
SHOWN = {
    "S": "S",
    "efficacy": "efficacy",
    "paraphrase": "paraphrases",
    "neighbourhood": "neighbours",
    "same_subject": "other relations",
}
"""Column → what the plot calls it."""
ACROSS = 2
"""Models beside one another in the plot."""


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

    names = [name for name in ROWS if any(name in result["rows"] for result in results.values())]
    width, lines = 0.8 / len(names), -(-len(results) // ACROSS)
    figure, axes = pyplot.subplots(
        lines, ACROSS, figsize=(12, 3.2 * lines), layout="constrained", squeeze=False, sharey=True
    )
    for axis, (model, result) in zip(axes.flat, results.items(), strict=False):
        for number, name in enumerate(names):
            values = [result["rows"].get(name, {}).get(column, 0.0) for column in SHOWN]
            places = [index + width * number for index in range(len(SHOWN))]
            axis.bar(places, values, width=width, color=COLOURS[number], label=name)
        axis.set_xticks([index + 0.4 - width / 2 for index in range(len(SHOWN))], list(SHOWN.values()))
        axis.set(title=model, ylim=(0, 1.05))
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    figure.supylabel("share of the test split")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def publish(directory: Path) -> str:
    """Write table and plot beside the parts; returns the tables."""
    results = parts(directory)
    text = f"{table(results)}\n{effort(results)}"
    (directory / "calibrate.md").write_text(text, encoding="utf-8")
    if results:
        plot(results, directory / "calibrate.svg")
    return text
