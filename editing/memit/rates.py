"""Measured speed of earlier builds: FLOP/s by phase, kept in the cache, for more accurate estimates.

The time of a phase is its arithmetic divided by a rate.  Until a build of this base has run on this machine,
the rate is a share of the machine's matrix rate.  Afterwards it is the measured one, which includes effects
that the arithmetic does not: edits that end early, small matrices, memory bandwidth.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from editing.durable import make_directory, write_file
from editing.model.devices import input_device

WORTH = 0.5
"""Shortest phase, in seconds, whose rate is meaningful."""


@dataclass(frozen=True)
class Rates:
    """The rates of one base on one machine, device, precision and number of threads."""

    file: Path
    key: str

    @classmethod
    def of(cls, model: Any, base_digest: str, cache: Path) -> Rates:
        device = input_device(model)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        threads = torch.get_num_threads() if device.type == "cpu" else 0
        parts = (base_digest[:16], platform.node(), name, str(model.dtype), str(threads))
        return cls(cache / "rates.json", " ".join(parts))

    def known(self) -> dict[str, float]:
        """Phase → FLOP/s reached by the last build in which that phase was long enough."""
        known: dict[str, float] = self._read().get(self.key, {})
        return known

    def learn(self, flops: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        """Store the rates of a build."""
        reached = {
            phase: count / seconds[phase]
            for phase, count in flops.items()
            if count and seconds.get(phase, 0.0) >= WORTH
        }
        if not reached:
            return
        everything = self._read()
        everything[self.key] = self.known() | reached
        make_directory(self.file.parent)
        write_file(self.file, json.dumps(everything, indent=1, sort_keys=True).encode() + b"\n")

    def _read(self) -> dict[str, dict[str, float]]:
        """The rates in the file; empty if it is not valid JSON, since only estimates depend on it."""
        try:
            found: dict[str, dict[str, float]] = json.loads(self.file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found
