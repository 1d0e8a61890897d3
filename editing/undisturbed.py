"""Steps that make many small objects without cycles, which garbage collection would traverse again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Disable garbage collection during one step: thousands of rows, or of a tokenizer's lists, contain no cycles.

    Traversing them repeatedly took a third of the time of an intake (measured in benchmarks/sources.py).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
