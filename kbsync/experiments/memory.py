"""The memory that a piece of work takes beyond what was in use before it."""

from __future__ import annotations

import ctypes
import gc
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """`bytes` is known at the end of the block."""

    bytes: int = 0


def wall_time() -> float:
    """Seconds, once the GPU has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the block's peak: of the GPU if `device` is one, else of the process.

    Where the system cannot reset its record (other than Linux), only what exceeds every earlier peak is seen.
    """
    found = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        torch.cuda.synchronize(device)
        found.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    before = _forget()
    yield found
    found.bytes = max(0, _highest() - before)


def _forget() -> int:
    """Reset the process's record of its peak, and return what it uses now.

    Memory that earlier work has freed is returned to the system first; otherwise the block would take it without a
    trace.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)
    try:
        RESET.write_text("5", encoding="ascii")
    except OSError:
        return _highest()
    return _of_status("VmRSS")


def _highest() -> int:
    try:
        return _of_status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _of_status(name: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {name}")
