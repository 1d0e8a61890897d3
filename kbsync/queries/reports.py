"""What the reports of runs say, each read once: a report takes seconds to read, and never changes after its run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from editing.spec import BuildReport

Part = TypeVar("Part")


class Reports:
    """Parts of reports, kept for all who look at them.

    A file that was replaced is read again.  Of several who ask for a part at once, one reads it.
    """

    KEPT = 32

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._reading: dict[tuple[object, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def part(self, path: Path, part: Callable[[BuildReport], Part], *depends: object) -> Part:
        """`part` of the report in `path`; `depends` are the hashable values that it depends on beside the report.

        Raises OSError if there is no report, and editing.errors.SpecError if it cannot be read.
        """
        at = path.stat()
        name = (str(path), at.st_mtime_ns, at.st_size, at.st_ino, *(depends or (part,)))
        with self._lock:
            lock = self._reading.setdefault(name, threading.Lock())
        try:
            with lock:
                return self._kept(name, lambda: part(BuildReport.read(path)))
        finally:
            with self._lock:
                self._reading.pop(name, None)

    def _kept(self, name: tuple[object, ...], read: Callable[[], Part]) -> Part:
        with self._lock:
            if name in self._found:
                self._found.move_to_end(name)
                return self._found[name]  # type: ignore[no-any-return]
        made = read()
        with self._lock:
            self._found[name] = made
            while len(self._found) > self.KEPT:
                self._found.popitem(last=False)
        return made
