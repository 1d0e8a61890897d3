"""How far a build is, in a file of the run's directory, for the review pages of another process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from editing.durable import writing
from editing.progress import TimedProgress

EVERY_S = 0.5


@contextmanager
def shown_to_others(
    file: Path, progress: TimedProgress, clock: Callable[[], float] = time.monotonic
) -> Iterator[TimedProgress]:
    """A TimedProgress that also writes `file`, at most twice a second; the file is gone after the block.

    It is replaced at once, so that a reader never sees half of it, and not synced: it is of no use after a crash.
    Raises StorageError if it cannot be written: the build could not write its result either.
    """
    partial = file.with_name(f".{file.name}.part")
    written = ("", -EVERY_S)

    def show(phase: str, done: int, total: int, eta_s: float | None) -> None:
        nonlocal written
        now = clock()
        if phase != written[0] or now - written[1] >= EVERY_S:
            written = (phase, now)
            text = json.dumps({"phase": phase, "done": done, "total": total, "left_s": eta_s})
            with writing(file):
                partial.write_text(text, encoding="utf-8")
                os.replace(partial, file)
        progress(phase, done, total, eta_s)

    try:
        yield show
    finally:
        for path in (partial, file):
            path.unlink(missing_ok=True)
