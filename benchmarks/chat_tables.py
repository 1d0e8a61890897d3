"""Writes the tables of docs/quality.md that come from `chat.py` and its companions.

    python -m benchmarks.chat_tables

Each table stands between the comments `<!-- NAME -->` and `<!-- end of NAME -->`; a test compares it with the results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "quality.md"
NAMES = (
    "chat-24",
    "chat-contexts-24",
    "chat-contexts-100",
    "chat-statistics-24",
    "chat-statistics-100",
    "chat-scaling",
)
"""Results with a table in the page, where they were measured."""
HEADINGS = {
    "lam": "λ",
    "chat_unseen": "chat, other wording",
    "neighbours_chat": "their chat",
    "kept": "kept relations",
    "unkept": "others",
    "unkept_chat": "their chat",
    "end_token": "end token",
    "stated": "new object named",
    "own_subject": "own subject named",
    "chat_system": "after a system message",
    "ended": "answer ends",
    "statistics": "statistics of",
    "same_fact": "the same named",
    "unrelated_fact": "unrelated, the same named",
    "near_right": "neighbours still right",
    "times": "times leverage's",
    "own_relations": "other relations",
    "untouched_facts": "untouched facts",
}
"""Name of a figure → its heading; a figure without an entry is headed by its name."""
AIMS: Mapping[str, Mapping[str, float]] = {
    "chat-scaling": {
        "strict": 0.95,
        "S": 0.9,
        "paraphrases": 0.8,
        "own_relations": 0.8,
        "untouched": 0.9,
        "same_fact": 0.9,
        "perplexity": 1.05,
    }
}
"""Name of a result → figure → what is aimed at; figures that reach it are printed bold."""


def table(rows: Sequence[Mapping[str, Any]], aims: Mapping[str, float] | None = None) -> str:
    """Rows of figures in Markdown."""
    aimed = aims or {}
    names = list(rows[0])
    lines = [
        "| " + " | ".join(HEADINGS.get(name, name) for name in names) + " |",
        "|" + "---|" * len(names),
    ]
    lines += ["| " + " | ".join(_marked(name, row[name], aimed) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _marked(name: str, value: Any, aims: Mapping[str, float]) -> str:
    if name not in aims:
        return _cell(name, value)
    reached = value <= aims[name] if name == "perplexity" else value >= aims[name]
    return f"**{_cell(name, value)}**" if reached else _cell(name, value)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "perplexity":
        return f"{value:.3f}"
    if isinstance(value, float) and name not in ("keep", "lam", "kl", "times"):
        return f"{value:.2f}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def tables(results: Path = RESULTS) -> dict[str, str]:
    """The name of each table in the page → the table, with the machine that it was measured on."""
    found = {}
    for name in NAMES:
        file = results / f"{name}.json"
        if file.exists():
            result = json.loads(file.read_text(encoding="utf-8"))
            found[name] = f"{table(without_texts(result['rows']), AIMS.get(name))}\n{_measured_on(result)}\n"
    return found


def without_texts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the answers that are kept beside their figures."""
    return [{name: value for name, value in row.items() if not isinstance(value, list)} for row in rows]


def _measured_on(result: Mapping[str, Any]) -> str:
    parts = [result["machine"]]
    if "date" in result:
        parts.append(f"{result['cpu_seconds']:,} s of CPU time, {result['date']}")
    return f"({'; '.join(parts)})"


def filled(page: str, found: Mapping[str, str]) -> str:
    """`page` with its tables replaced; raises ValueError for a table that has no place."""
    for name, text in found.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        page, count = re.subn(pattern, lambda _, new=begin + text + end: new, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name!r}")
    return page


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
