"""How long a build takes on many GPUs, counted and simulated: what is divided, what is not, and where that ends.

Every constant is counted (FLOPs of GPT-J-6B's shape), measured by `benchmarks/ray.py` on this machine, or assumed
of the hardware and named as such in `Machine`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

SHARES_PER_ACTOR, EXAM_SHARES = 4, 8


@dataclass(frozen=True)
class Machine:
    """Assumed of the cluster."""

    flops: float = 990e12 * 0.45
    """Of one GPU in bf16: an H100's dense rate, at the share of the matrix rate that the engine measured reached."""
    flops_64: float = 67e12 * 0.7
    """Of one GPU in fp64, for the solve."""
    storage_bytes: float = 10e9
    """Bytes per second of the shared storage, all readers together."""
    storage_files: float = 5_000.0
    """Small files per second that the shared storage creates or opens, all clients together."""
    start_s: float = 40.0
    """From an actor's start to its first task, without reading the base."""


@dataclass(frozen=True)
class Model:
    """Counted of a model's shape and a fact's usual number of tokens."""

    bytes: float
    target_flops: float
    """Of one δ."""
    key_flops: float
    """Of one fact's keys, all layers, passes only, each of which goes on from the states that the one before left."""
    layer_flops: float
    """Of one fact's keys of one layer, by a pass from the beginning, as where keys are divided."""
    column_bytes: float
    """Of one fact's keys and residuals of one layer, as shares of the keys leave them on the storage."""
    exam_flops: float
    """Of what a new fact is asked."""
    d_k: int
    layers: int
    columns: int
    """Key columns of one fact."""
    statistics_flops: float


@dataclass(frozen=True)
class Driver:
    """Measured on a cluster of this machine."""

    prepare_s: float
    """Of one fact, once by each actor and phase: all of the view is tokenised to know which groups a share has."""
    task_s: float
    """Of one task besides its work: specs, reports, and what Ray takes."""
    round_s: float
    """Of the driver between the phases: the plan's round trip, the wait for the last share."""


@dataclass(frozen=True)
class Times:
    """Seconds of one build."""

    start: float
    plan: float
    shares: float
    read: float
    keys: float
    solve: float
    exam: float
    idle: float
    """Mean time that an actor waited while others still had shares."""
    work: float
    """Of all δs together, on one GPU."""

    @property
    def total(self) -> float:
        return self.start + self.plan + self.shares + self.read + self.keys + self.solve + self.exam

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each phase."""
        return {**self.undivided, **self.divided}

    @property
    def divided(self) -> dict[str, float]:
        """What more GPUs make shorter."""
        return {"shares": self.shares, "keys": self.keys, "exam": self.exam}

    @property
    def undivided(self) -> dict[str, float]:
        """What more GPUs do not make shorter."""
        return {
            "start": self.start,
            "plan": self.plan,
            "reading δs": self.read,
            "solve": self.solve,
        }

    @property
    def limit(self) -> str:
        """The longest of all phases."""
        return max(self.phases, key=lambda name: self.phases[name])


def simulated(facts: int, workers: int, model: Model, machine: Machine, driver: Driver) -> Times:
    """One first build of `facts` facts, none of whose δs is cached, on `workers` GPUs."""
    count = min(facts, SHARES_PER_ACTOR * workers)
    work = facts * model.target_flops / machine.flops
    prepare = facts * driver.prepare_s
    # All actors write δs to the same storage; its rate bounds theirs together.
    writing = facts / machine.storage_files
    tasks = []
    if count > 1:
        each = split(facts, count)
        tasks = [driver.task_s + one * model.target_flops / machine.flops for one in each]
        statistics = min(8, workers)
        tasks += [
            driver.task_s + model.statistics_flops / machine.flops / statistics for _ in range(statistics)
        ]
    else:
        tasks = [work + model.statistics_flops / machine.flops]
    ends = scheduled(tasks, workers)
    solve_flops = model.layers * (
        2.0 * facts * model.columns * model.d_k**2 + model.d_k**3 / 3 + 2.0 * model.d_k**2 * model.d_k / 4
    )
    return Times(
        start=machine.start_s + workers * model.bytes / machine.storage_bytes,
        plan=driver.round_s + prepare,
        shares=max(max(ends) + (prepare if count > 1 else 0.0), writing),
        read=facts / machine.storage_files + prepare,
        keys=_keys(facts, workers, model, machine, driver),
        solve=solve_flops / machine.flops_64,
        exam=_exam(facts, workers, model, machine, driver),
        idle=max(ends) - sum(ends) / len(ends),
        work=work,
    )


def _keys(facts: int, workers: int, model: Model, machine: Machine, driver: Driver) -> float:
    """Seconds of the passes, and of exchanging what they found; one actor keeps both in memory."""
    if workers == 1:
        return facts * model.key_flops / machine.flops
    largest = max(split(facts, workers))
    exchanged = 2 * facts * model.column_bytes / machine.storage_bytes  # written once, and read by who solves
    return model.layers * (2 * driver.task_s + largest * model.layer_flops / machine.flops + exchanged)


def _exam(facts: int, workers: int, model: Model, machine: Machine, driver: Driver) -> float:
    """Seconds of the questions; each actor that has a share prepares the whole view, and reads every δ."""
    if workers == 1:
        return facts * model.exam_flops / machine.flops
    shares = min(EXAM_SHARES, workers)
    prepare = facts * driver.prepare_s + shares * facts / machine.storage_files
    return driver.task_s + prepare + max(split(facts, shares)) * model.exam_flops / machine.flops


def split(facts: int, count: int) -> list[int]:
    """Facts of each share: a share is chosen by the key's digest, so sizes vary as those of random draws do."""
    draw = random.Random(count)
    mean = facts / count
    return [max(0, round(draw.gauss(mean, (mean * (1 - 1 / count)) ** 0.5))) for _ in range(count)]


def scheduled(tasks: Sequence[float], workers: int) -> list[float]:
    """When each worker ends, if whoever is idle takes the next task."""
    ends = [0.0] * workers
    heapq.heapify(ends)
    for seconds in tasks:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    return sorted(ends)
