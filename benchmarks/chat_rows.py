"""Rows of a benchmark on the chat model, kept in its results file as they are measured: another call adds to them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.chat import both_machines, measured_on
from editing.settings import EditSettings


class StoredRows:
    """The rows in `file`, with the settings, the machines and the CPU seconds of all calls.

    They are in the order of `order` if it is given, else in the one in which they were measured.
    """

    def __init__(
        self,
        file: Path,
        edits: int,
        settings: EditSettings,
        device: str,
        order: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.file, self.device, self.order = file, device, order
        self.content: dict[str, Any] = {
            "n": edits,
            "settings": asdict(settings),
            "cpu_seconds": 0,
            "rows": [],
        }
        if file.exists():
            self.content = json.loads(file.read_text(encoding="utf-8"))
        self.earlier = int(self.content["cpu_seconds"])
        file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content["rows"]
        return found

    def keep(self, row: dict[str, Any]) -> None:
        """Print `row` and write it to the file."""
        print(json.dumps(row), flush=True)
        self.rows.append(row)
        if self.order is not None:
            self.rows.sort(key=self.order)
        now = measured_on(self.device)
        machine = both_machines(self.content.get("machine", ""), now["machine"])
        spent = self.earlier + round(time.process_time())
        self.content.update(now, machine=machine, cpu_seconds=spent)
        self.file.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
