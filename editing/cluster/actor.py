"""A Ray actor that holds the base and does rounds, like a worker of this machine."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import torch
import transformers

from editing.errors import EditingError
from editing.spec import SPEC_VERSION, BuildReport
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop


@dataclass(frozen=True, slots=True)
class ActorHost:
    """Where an actor runs, and with what; results are the same only under the same versions."""

    host: str
    pid: int
    versions: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls) -> ActorHost:
        versions = {
            "spec": str(SPEC_VERSION),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        return cls(socket.gethostname(), os.getpid(), tuple(sorted(versions.items())))

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions)


class _LastEvent:
    """The stream that a channel writes to: it keeps only the last progress."""

    def __init__(self) -> None:
        self.progress = ("start", 0, 1)

    def write(self, line: str) -> None:
        event = json.loads(line)
        if event.get("event") == "progress":
            self.progress = (event["phase"], event["done"], event["total"])

    def flush(self) -> None:
        """Nothing is buffered."""


class Builder:
    """The actor.  `round` and `load` run one after the other, and `progress` answers meanwhile."""

    THREADS = 3

    def __init__(self) -> None:
        self._last = _LastEvent()
        self._workshop = Workshop(Channel(cast("IO[str]", self._last)))
        self._working = threading.Lock()

    def place(self) -> ActorHost:
        return ActorHost.here()

    def load(self, directory: str, digest: str, device: str | None) -> None:
        """Load the base; what goes wrong is met again, and reported, by the round."""
        with self._working, suppress(EditingError):
            self._workshop.load(Path(directory), digest, device)

    def round(self, spec: str) -> str:
        """Do the round of a spec on the shared storage; returns the path of its report.  Raises EditingError."""
        with self._working:
            self._last.progress = ("start", 0, 1)
            report = self._workshop.round(Path(spec))
            BuildReport.read(report)
            return str(report)

    def progress(self) -> tuple[str, int, int]:
        """(phase, done, total) of the round under way."""
        return self._last.progress
