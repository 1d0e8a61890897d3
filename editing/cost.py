"""What a round cost, and how it changed the edited matrices: the `cost` of a report.  Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from editing.errors import SpecError
from editing.preflight import Preflight, mean_realised

COUNTS = ("groups", "groups_optimised", "groups_cached", "peak_memory_bytes")
SECONDS, RIDGE, GROWTH, LEVERAGE = "seconds_", "ridge_", "growth_", "leverage_"
RANK, MISFIT = "needed_rank_", "fit_error_"


def growth_of_one(growth: float, edits: int) -> float:
    """What one of `edits` edits contributes to the growth ‖W + Δ‖ / ‖W‖ of a matrix.

    The updates of single edits are nearly orthogonal to W and to each other, so their squared norms add:
    ‖W + Δ‖² ≈ ‖W‖² + n ‖Δ₁‖².  Measured for 1 to 100 good edits in benchmarks/growth.py and benchmarks/testbed.
    """
    return math.sqrt(max(0.0, 1.0 + (growth * growth - 1.0) / max(1, edits)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round cost: counts, seconds by phase, and the estimate it began with."""

    groups: int = 0
    """Key groups of the view."""
    groups_optimised: int = 0
    """Key groups whose δ was computed in this round."""
    groups_cached: int = 0
    """Key groups whose δ was in the cache."""
    peak_memory_bytes: int = 0
    """Peak memory in bytes: of the GPU if one is used, else of the process."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Phase → seconds: known, tokens, targets, statistics, keys, build, checkpoint, judge, total."""
    ridges: Mapping[int, float] = field(default_factory=dict)
    """Layer → what was added to the diagonal of its normal equations so that they could be solved."""
    growth: Mapping[int, float] = field(default_factory=dict)
    """Layer → ‖W + Δ‖ / ‖W‖."""
    lam: float = 0.0
    """λ that the layers were solved with; 0 if nothing was solved."""
    leverage: Mapping[int, float] = field(default_factory=dict)
    """Layer → median kᵀ C⁻¹ k of the edited keys: h = leverage / λ, and an edit alone realises h / (1 + h)."""
    ranks: Mapping[int, float] = field(default_factory=dict)
    """Layer → the rank that its update needs, if there is a limit (`max_rank`)."""
    misfits: Mapping[int, float] = field(default_factory=dict)
    """Layer → relative error of the update of limited rank, in the metric of the solve."""
    preflight: Preflight | None = None
    """The estimate made before the build; None if nothing was built."""

    def entries(self) -> dict[str, float]:
        """The cost as reports state it: one flat object of numbers; without a build, counts of zero are left out."""
        counts = {name: float(getattr(self, name)) for name in COUNTS}
        return {
            **{name: value for name, value in counts.items() if value or self.preflight is not None},
            **{f"{SECONDS}{phase}": seconds for phase, seconds in self.seconds.items()},
            **{f"{RIDGE}{layer}": ridge for layer, ridge in self.ridges.items()},
            **{f"{GROWTH}{layer}": growth for layer, growth in self.growth.items()},
            **{f"{RANK}{layer}": rank for layer, rank in self.ranks.items()},
            **{f"{MISFIT}{layer}": error for layer, error in self.misfits.items()},
            **self.solved(),
            **(self.preflight.entries() if self.preflight is not None else {}),
        }

    def after(self, earlier: Cost) -> Cost:
        """The cost of a build that went on from an `earlier` one of the same round, whose δs it reused."""
        optimised = self.groups_optimised + earlier.groups_optimised
        phases = dict.fromkeys((*earlier.seconds, *self.seconds))
        seconds = {name: earlier.seconds.get(name, 0.0) + self.seconds.get(name, 0.0) for name in phases}
        return replace(
            self, groups_optimised=optimised, groups_cached=self.groups - optimised, seconds=seconds
        )

    @property
    def realised(self) -> float:
        """The share of its residual that a single edit realised at a layer; 0 if nothing was solved."""
        return mean_realised(self.leverage, self.lam)

    def solved(self) -> dict[str, float]:
        """λ and the leverages, as written to reports and checkpoint manifests; empty if nothing was solved."""
        if not self.lam:
            return {}
        return {"lam": self.lam} | {f"{LEVERAGE}{layer}": value for layer, value in self.leverage.items()}

    @classmethod
    def from_json(cls, value: object, where: str) -> Cost:
        """Read the cost from a report; unknown entries, from other versions, are ignored.  Raises SpecError."""
        if not isinstance(value, Mapping) or not all(
            isinstance(number, int | float) and not isinstance(number, bool) for number in value.values()
        ):
            raise SpecError(f"{where}: expected an object of numbers, found {value!r:.60}")
        return cls(
            **{name: int(value[name]) for name in COUNTS if name in value},
            seconds={name: float(number) for name, number in _named(value, SECONDS)},
            ridges=_by_layer(value, RIDGE, where),
            growth=_by_layer(value, GROWTH, where),
            lam=float(value.get("lam", 0.0)),
            leverage=_by_layer(value, LEVERAGE, where),
            ranks=_by_layer(value, RANK, where),
            misfits=_by_layer(value, MISFIT, where),
            preflight=Preflight.from_entries(value),
        )


def _named(value: Mapping[str, float], prefix: str) -> list[tuple[str, float]]:
    return [(name.removeprefix(prefix), value[name]) for name in value if name.startswith(prefix)]


def _by_layer(value: Mapping[str, float], prefix: str, where: str) -> dict[int, float]:
    found = {}
    for name, number in _named(value, prefix):
        if not (name.isascii() and name.isdecimal()):
            raise SpecError(f"{where}.{prefix}{name}: expected the number of a layer after {prefix!r}")
        found[int(name)] = float(number)
    return found
