"""A Ray actor that holds the base and does rounds, like a worker of this machine."""

from __future__ import annotations

import atexit
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

from editing.cluster.parcels import Delivery, Parcel
from editing.cluster.scratch import Scratch
from editing.errors import EditingError
from editing.mirror import mirrored
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
        self._scratch: Scratch | None = None

    def place(self) -> ActorHost:
        return ActorHost.here()

    def load(self, directory: str, digest: str, device: str | None) -> None:
        """Load the base; what goes wrong is met again, and reported, by the round."""
        with self._working, suppress(EditingError):
            self._workshop.load(Path(directory), digest, device)

    def round(self, request: str | Parcel) -> str | Delivery:
        """Do the round of a spec; raises EditingError.

        For the path of a spec on shared storage, the answer is the path of its report.
        """
        with self._working:
            self._last.progress = ("start", 0, 1)
            if isinstance(request, Parcel):
                return self._elsewhere(request)
            report = self._workshop.round(Path(request))
            BuildReport.read(report)
            return str(report)

    def _elsewhere(self, parcel: Parcel) -> Delivery:
        """A round on this machine's own disk, whose results go to the object store as soon as they are done."""
        if self._scratch is None or self._scratch.url != parcel.url:
            self._scratch = Scratch(parcel.url, self._workshop.channel.progress)
            atexit.register(self._scratch.close)
        path = self._scratch.unpack(parcel)
        with mirrored(self._scratch.cache):
            report = self._workshop.round(path)
        return self._scratch.delivery(parcel, report)

    def progress(self) -> tuple[str, int, int]:
        """(phase, done, total) of the round under way."""
        return self._last.progress
