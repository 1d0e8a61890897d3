"""The estimate of a build, as shown before the build begins.  `cost.py` computes it.  Torch-free."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from editing.errors import StorageError

LITTLE = 0.3
"""Below this share of its residual at a layer, an edit rarely changes the answer."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """An estimate of memory and time, phase by phase."""

    groups: int
    """Key groups of the view."""
    optimised: int
    """Key groups whose δ is not cached."""
    statistics: int
    """Layers whose second moments are not cached."""
    floor_flops: float
    """FLOPs that the optimisation requires at least."""
    bytes_model: int
    bytes_batch: int
    """The largest batch of the optimisation."""
    bytes_statistics: int
    bytes_solve: int
    seconds_targets: float
    seconds_statistics: float
    seconds_keys: float
    """Collecting keys and solving for all layers."""
    rate: float
    """FLOP/s behind the times of `assumed` phases: a share of the matrix rate that this process measured."""
    assumed: int
    """How many of the three times are based on `rate`, because no build of this base has run on this machine yet."""
    bytes_cache: int = 0
    """Bytes written to the cache: δs, statistics, factors."""
    bytes_result: int = 0
    """Bytes written to the result: its editable tensors."""
    bytes_free: int = 0
    """Free space on the file system of the cache."""
    lam: float = 0.0
    """λ of the build; 0 if it depends on statistics that are not cached."""
    realised: float = 0.0
    """The share of its residual that an edit realises at a layer with that λ; 0 if it is not known yet."""

    keys_each: int = 0
    """Key columns of a group; 0 without a limit of the rank."""
    max_rank: int = 0
    """Largest rank of a layer's update; 0 without a limit."""

    devices: int = 1
    """Number of devices that the model is spread over."""
    bytes_device: int = 0
    """Peak memory of the fullest of them; 0 where it was not estimated."""
    layers: int = 0
    """Number of edited layers; 0 where they are not edited one after the other."""
    blocked: int = 0
    """Number of layers whose d_k × d_k matrices exceed what a solve may take: they are solved by panels, with the
    factor in a file."""

    @property
    def bytes(self) -> int:
        """Peak memory of the build: the phases run one after the other."""
        return self.bytes_model + max(self.bytes_batch, self.bytes_statistics, self.bytes_solve)

    @property
    def seconds(self) -> float:
        return self.seconds_targets + self.seconds_statistics + self.seconds_keys

    def phases(self) -> dict[str, float]:
        """Seconds by phase, as progress is reported."""
        return {
            "targets": self.seconds_targets,
            "statistics": self.seconds_statistics,
            "keys": self.seconds_keys,
        }

    def entries(self) -> dict[str, float]:
        """The estimate as entries of a report's `cost`."""
        return {f"preflight_{name}": float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_entries(cls, cost: Mapping[str, float]) -> Preflight | None:
        """The preflight in the entries of a report's `cost`, if there is one."""
        kinds = {field.name: float if field.type == "float" else int for field in fields(cls)}
        required = [field.name for field in fields(cls) if field.default is MISSING]
        if not all(f"preflight_{name}" in cost for name in required):
            return None
        found = {name: f"preflight_{name}" for name in kinds if f"preflight_{name}" in cost}
        values: dict[str, Any] = {name: kinds[name](cost[entry]) for name, entry in found.items()}
        return cls(**values)

    def lines(self) -> tuple[tuple[str, str], ...]:
        """(label, value) rows for display."""
        cached = self.groups - self.optimised
        work = f"{self.optimised} of {counted(self.groups, 'key group')} to optimise, {cached} cached"
        if self.statistics:
            work += f"; statistics of {counted(self.statistics, 'layer')} to compute"
        working = self.bytes - self.bytes_model
        parts = ", ".join(f"{phase} {duration(s)}" for phase, s in self.phases().items() if s >= 1)
        basis = (
            f"assuming {self.rate / 1e9:.1f} GFLOP/s, a part of the matrix rate that this process measured"
            if self.assumed
            else "from earlier builds of this base on this machine"
        )
        return (
            ("work", work),
            (
                "memory",
                f"about {gib(self.bytes)}: model {gib(self.bytes_model)}, work {gib(working)}"
                f"{self._spread()}{self._panels()}",
            ),
            (
                "disk",
                f"about {gib(self.bytes_cache)} for the cache, where {gib(self.bytes_free)} are free, and "
                f"{gib(self.bytes_result)} for the result",
            ),
            ("time", f"about {duration(self.seconds)}{f' ({parts})' if parts else ''}, {basis}"),
            *([("lambda", reach(self.lam, self.realised))] if self.realised else []),
            *([("adapter", exactness(self.groups, self.keys_each, self.max_rank))] if self.max_rank else []),
        )

    def _spread(self) -> str:
        """How the memory is spread over several devices; empty if there is one."""
        return (
            f"; on {self.devices} devices, at most {gib(self.bytes_device)} on one"
            if self.devices > 1
            else ""
        )

    def _panels(self) -> str:
        """How layers that do not fit are solved; empty if all fit."""
        return (
            f"; {counted(self.blocked, 'layer')} solved by panels, with the factor in a file of the cache"
            if self.blocked
            else ""
        )


def mean_realised(leverage: Mapping[int, float], lam: float) -> float:
    """The share of its residual that a single edit realises at a layer, h / (1 + h) with h = leverage / λ, on
    average over the layers (`editing/memit/leverage.py`); 0 where nothing was measured."""
    shares = [value / (value + lam) for value in leverage.values()]
    return sum(shares) / len(shares) if shares else 0.0


def reach(lam: float, realised: float) -> str:
    """What an edit reaches at this λ, with advice if that is too little to change an answer."""
    text = f"at lam = {lam:g} an edit realises {realised:.0%} of its residual at a layer"
    if realised >= LITTLE:
        return text
    return f'{text}: facts are unlikely to take; set [edit] lam = "auto", or a smaller number'


def exactness(groups: int, keys_each: int, max_rank: int) -> str:
    """Up to how many key groups an adapter of this rank is exact, with advice if there are more."""
    most = max_rank // keys_each
    text = (
        f"rank {max_rank} is exact up to {counted(most, 'key group')} with {counted(keys_each, 'key')} each"
    )
    if groups <= most:
        return text
    advice = f', or with [edit] keys = "average" up to {max_rank}' if keys_each > 1 else ""
    return f"{text}{advice}; {groups} are fitted as well as that rank can"


def check_disk(expected: Preflight, cache: Path, out: Path | None = None) -> None:
    """Raise StorageError if the build would write more to `cache` and `out` than there is space."""
    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for path, size in ((cache, expected.bytes_cache), (out, expected.bytes_result)):
        if path is not None:
            place = existing(path)
            device = place.stat().st_dev
            needed[device] = needed.get(device, 0) + size
            places.setdefault(device, place)
    for device, size in needed.items():
        free = shutil.disk_usage(places[device]).free
        if size > free:
            raise StorageError(
                f"No space left on device for the build: it writes about {gib(size)} to {places[device]}, where "
                f"{gib(free)} are free; free some space, or choose another place. Nothing was begun"
            )


def existing(path: Path) -> Path:
    """`path`, or its nearest parent that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def duration(seconds: float) -> str:
    """`seconds` for display: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def gib(count: int) -> str:
    """Bytes in GiB, or in MiB or KiB for small numbers."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
