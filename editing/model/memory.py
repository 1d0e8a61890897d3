"""Batch sizes from the free memory, halved if they turn out too large."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from editing.errors import OutOfMemory

T = TypeVar("T")


def free_bytes(device: torch.device) -> int:
    """Memory that a batch may use: the free memory, less a margin."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(0.8 * (free + reserved))
    return min(int(0.25 * _available()), 2 << 30)  # larger batches are no faster on a CPU


def solve_bytes(device: torch.device) -> int:
    """Memory that a layer's solve may use: half of what there is, free or not, so that equal builds solve alike."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 2
    return _stated("MemTotal") // 2


def pass_bytes(device: torch.device) -> int:
    """Memory for a forward pass over many texts and the states it keeps.

    More is no faster on a CPU, and memory should not grow with the view.
    """
    return min(free_bytes(device), 512 << 20) if device.type == "cpu" else free_bytes(device)


def _available() -> int:
    """MemAvailable on Linux; elsewhere a guess, which halving corrects."""
    return _stated("MemAvailable")


def _stated(name: str) -> int:
    """What /proc/meminfo states; 4 GiB where there is none."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 4 << 30


def ran_out(error: RuntimeError) -> bool:
    """Whether `error` is a failed allocation, on either kind of device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def in_batches(
    items: Sequence[T],
    cost: Callable[[T], float],
    budget: float,
    run: Callable[[Sequence[T]], None],
    *,
    too_large: Callable[[T, OutOfMemory], None] | None = None,
) -> None:
    """Call `run` on consecutive batches whose `cost` stays within `budget`; halve one that runs out of memory.

    A single item that does not fit is passed to `too_large`, or raises OutOfMemory without it.
    """
    for batch in batches(items, cost, budget):
        halving(batch, run, too_large=too_large)


def batches(items: Sequence[T], cost: Callable[[T], float], budget: float) -> Iterator[Sequence[T]]:
    """Consecutive batches of at least one item whose summed `cost` stays within `budget`."""
    start, spent = 0, 0.0
    for index, item in enumerate(items):
        price = cost(item)
        if index > start and spent + price > budget:
            yield items[start:index]
            start, spent = index, 0.0
        spent += price
    if start < len(items):
        yield items[start:]


def halving(
    batch: Sequence[T],
    run: Callable[[Sequence[T]], None],
    *,
    too_large: Callable[[T, OutOfMemory], None] | None = None,
) -> None:
    """Call `run` on `batch`, or on its halves in turn where it runs out of memory.

    A single item that does not fit is passed to `too_large`, or raises OutOfMemory without it.
    """
    try:
        run(batch)
        return
    except RuntimeError as error:
        if not ran_out(error):
            raise
        if len(batch) == 1:
            alone = OutOfMemory(
                f"one item alone does not fit in memory ({error}): shorten the texts, free memory, "
                "or use a smaller model"
            )
            if too_large is None:
                raise alone from error
            too_large(batch[0], alone)
            return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    halving(batch[:half], run, too_large=too_large)
    halving(batch[half:], run, too_large=too_large)


def peak_bytes() -> int:
    """Peak memory of this process in bytes: on the GPU where there is one, else the peak of its resident set.

    Linux counts VmHWM (proc_pid_status(5)) from the start of the program.  `ru_maxrss`, the fallback
    elsewhere, starts with what the parent process held when it forked.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    peak = next((line for line in lines if line.startswith("VmHWM:")), None)
    return int(peak.split()[1]) * 1024 if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
