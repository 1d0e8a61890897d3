"""Writes the tables of docs/gates.md that are measured: `python -m benchmarks.gates_tables`.

They are made of the results of `gates.py`, `gates_coverage.py`, `long_prefixes.py`, `derived.py` and `chat_gates.py`,
and stand between the comments `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.chat_tables import filled
from benchmarks.gates_coverage import Cell, table

RESULTS = Path(__file__).parent / "results"
WRITTEN = ("long-prefixes", "derived", "derived-24", "chat-gates", "chat-gates-100")
"""Results with a table in the page, where they were measured."""
PAGE = Path(__file__).parents[1] / "docs" / "gates.md"


def matrix(found: Mapping[str, Any]) -> str:
    """Gate × mutant in Markdown: ● the gate that should catch the kind does, ○ another gate does as well."""
    gates = [name for name in found["gates"] if any(name in row["caught_by"] for row in found["mutants"])]
    lines = ["| a candidate that | " + " | ".join(gates) + " |", "|---|" + ":-:|" * len(gates)]
    for row in found["mutants"]:
        marks = [
            "" if gate not in row["caught_by"] else "●" if gate in row["expected"] else "○" for gate in gates
        ]
        lines.append(f"| {row['what']} | " + " | ".join(marks) + " |")
    good = found["good"]
    lines.append("")
    lines.append(f"Of {good['runs']} good candidates, {good['alarms']} were rejected ({found['machine']}).")
    return "\n".join(lines) + "\n"


def tables(results: Path = RESULTS) -> dict[str, str]:
    """The name of each table in the page → the table."""
    found = json.loads((results / "gates.json").read_text(encoding="utf-8"))
    held = json.loads((results / "gates-coverage.json").read_text(encoding="utf-8"))
    there = (name for name in WRITTEN if (results / f"{name}.json").exists())
    written = {name: _written(results / name) for name in there}
    return {"matrix": matrix(found), "coverage": table([Cell(**row) for row in held["rows"]]), **written}


def _written(result: Path) -> str:
    """The table that a benchmark has written beside its figures, with the machine that they were measured on."""
    machine = json.loads(result.with_suffix(".json").read_text(encoding="utf-8"))["machine"]
    return f"{result.with_suffix('.md').read_text(encoding='utf-8')}\n({machine})\n"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, tables()), encoding="utf-8")
