"""What an experiment found, and its files: `NAME.json`, `NAME.md` and a PNG for each plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from editing.durable import make_directory, write_file
from kbsync.console import cell, plain
from kbsync.experiments.scores import Measured
from kbsync.experiments.setup import Series

LIBRARIES = ("kbsync", "torch", "transformers", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table for people."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def markdown(self) -> str:
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, ["---"] * len(self.columns))]
        for row in self.rows:
            lines.append("| " + " | ".join(_text(item).replace("|", "\\|") for item in row) + " |")
        return "\n".join(lines)


@dataclass(frozen=True)
class Findings:
    """The outcome of one experiment."""

    title: str
    tables: Sequence[TextTable]
    plots: Mapping[str, Callable[[Any], None]]
    """End of the file's name (empty: none) → draws on a matplotlib figure."""
    results: Sequence[Any]
    """Everything measured, as JSON holds it."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences about what was found, or why something is missing."""


GATES = ("said", "two_hop_said", "reversed", "negation", "long_prefix", "same_subject", "kl_median", "kl_p99")
"""What the gates of a run judge; of the first facts of a trial only (`gate_measures.EXAMINED`)."""


def score_table(title: str, series: Sequence[Series], at: str, measures: Sequence[str]) -> TextTable:
    """A row for each series: its line, where it is, its measures with their intervals, and perplexity.

    A measure that applies to none of the series has no column.
    """
    entries = [one.entry() for one in series]
    shown = [name for name in measures if any(_figure(entry, name) is not None for entry in entries)]
    rows = []
    for one, entry in zip(series, entries, strict=True):
        note = f"failed: {one.error}" if one.error else ""
        values = [_figure(entry, name) for name in (*shown, "perplexity_ratio")]
        rows.append((one.line, one.at, *values, note))
    columns = ("editor" if at == "n" else "", at, *shown, "perplexity", "")
    return TextTable(title, columns, tuple(rows))


def gate_table(series: Sequence[Series], at: str) -> TextTable:
    """The same series, as the gates of a run judge them."""
    return score_table("as the gates of a run judge", series, at, GATES)


def _figure(entry: Mapping[str, Any], name: str) -> Measured | float | None:
    """A measure by fact with its interval, or the mean over seeds of a figure of the model as a whole."""
    if entry["error"] or name in entry["measures"]:
        return None if entry["error"] else entry["measures"][name]
    values = [model.get(name) for model in entry["models"]]
    return None if None in values or not values else sum(values) / len(values)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Measured) else cell(value)


def machine(device: str = "") -> dict[str, Any]:
    """The machine, as far as it decides how long something takes; its GPU unless `device` is another."""
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available() and device in ("", "cuda"):
        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def write(out: Path, name: str, findings: Findings, about: Mapping[str, Any]) -> list[Path]:
    """Write the files of an experiment to the directory `out`, and return their paths."""
    make_directory(out.resolve())
    content = plain({"experiment": name, "title": findings.title, **about, "results": findings.results})
    content["notes"] = list(findings.notes)
    files = [out / f"{name}.json", out / f"{name}.md"]
    write_file(files[0], (compact(content) + "\n").encode())
    images = [_drawn(out / f"{name}{end}.png", draw) for end, draw in findings.plots.items()]
    write_file(files[1], _page(findings, images, content).encode())
    return [*files, *images]


def compact(value: Any, depth: int = 0) -> str:
    """`value` as indented JSON in which a list of plain values takes one line, such as a fact's row of scores."""
    if isinstance(value, dict) and value:
        brackets = "{}"
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {compact(item, depth + 1)}"
            for key, item in value.items()
        ]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        brackets = "[]"
        parts = [compact(item, depth + 1) for item in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    margin = "\n" + " " * depth
    return brackets[0] + ",".join(f"{margin} {part}" for part in parts) + margin + brackets[1]


def _drawn(file: Path, draw: Callable[[Any], None]) -> Path:
    from kbsync.experiments.drawing import figure

    with figure(file) as canvas:
        draw(canvas)
    return file


def _page(findings: Findings, images: Sequence[Path], about: Mapping[str, Any]) -> str:
    """The tables, the plots, the notes, and what they were measured with, as Markdown."""
    model, host = about["model"], about["machine"]
    parts = [f"# {findings.title}"]
    parts += [f"## {table.title}\n\n{table.markdown()}" for table in findings.tables]
    parts += [f"![{findings.title}]({image.name})" for image in images]
    parts += ["\n".join(f"- {note}" for note in findings.notes)] if findings.notes else []
    parts.append(
        f"Values in brackets are 95 % intervals (bootstrap over facts). Model: {model['name']}, digest "
        f"`{model['digest'][:12]}`. Data: {about['data']['source']}. Seeds: {', '.join(map(str, about['seeds']))}. "
        f"Machine: {host.get('gpu', '')} {host['cores']} cores, {host['threads']} threads, {host['system']}; "
        + ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        + (". Quick sizes." if about["quick"] else ".")
        + "".join(f" Options of {name}: {found}." for name, found in about["options"].items())
    )
    return "\n\n".join(parts) + "\n"
