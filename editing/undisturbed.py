"""Steps that make many objects that stay or have no cycles, which garbage collection would traverse again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Disable garbage collection during one step: an import of large libraries, or one that makes thousands of rows.

    Traversing them repeatedly took a third of the time of an intake (measured in benchmarks/sources.py), and a fifth
    of that of importing torch and transformers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
