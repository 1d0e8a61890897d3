"""The keys of a view divided among machines, layer by layer: each collects the columns of a share of the groups, and
one solves the layer.

    layer 1   columns of every share → solve → W_out
    layer 2   columns of every share, with layer 1 changed → solve → W_out    …

Columns and new weights are cached.  Their content keys cover the view, its base and statistics, the settings, and the
weights that the layers before got, so what an interrupted build left is used by the next attempt and by no other build.
A build that finds the new weights of every layer has nothing left to solve.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.editors.contract import BuildInputs
from editing.errors import StorageError
from editing.memit import tensor_cache
from editing.memit.columns import Add, ColumnSource
from editing.memit.groups import Group, in_share
from editing.memit.kept import kept_keys
from editing.memit.keys import Collector, Site
from editing.memit.low_rank import Fit, RankLimited
from editing.memit.preparation import Job, prepare_part
from editing.memit.scale import Scale
from editing.memit.solvers import Columns, Solver
from editing.memit.spread import Spread, with_update
from editing.mirror import mirror
from editing.model.architectures import Parts
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.weights import swapped
from editing.progress import Progress, silent

FOLDER = "keys"
"""Of the cache.  What is in it serves one build, and is removed after it."""
ROWS = 4096
"""Columns that a solve takes from a file at a time."""


@dataclass(frozen=True)
class Solved:
    """What the solve of one layer left in the cache."""

    weight: Tensor
    """The new W_out, in the model's dtype."""
    ridge: float
    growth: float
    scale: Scale | None
    """λ and leverage of the build; None where λ plays no part."""
    fit: Fit | None
    """How well the update fits into the largest rank, if there is one."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weight."""
        raw = self.weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        return hashlib.sha256(raw).hexdigest()

    def write(self, path: Path) -> None:
        said = {
            "ridge": self.ridge,
            "growth": self.growth,
            "scale": self.scale and [self.scale.lam, sorted(self.scale.leverage.items())],
            "fit": self.fit and [self.fit.needed, self.fit.error],
        }
        tensor_cache.store(path, {"weight": self.weight}, {"said": json.dumps(said)})

    @classmethod
    def read(cls, path: Path) -> Solved | None:
        """None if there is no such file, or if it is damaged."""
        found = tensor_cache.load(path)
        if found is None:
            return None
        said = json.loads(found[1]["said"])
        scale, fit = said["scale"], said["fit"]
        return cls(
            found[0]["weight"],
            said["ridge"],
            said["growth"],
            Scale(scale[0], dict(scale[1])) if scale else None,
            Fit(*fit) if fit else None,
        )


class KeyPass:
    """The key pass of one build, as far as it is in the cache."""

    def __init__(self, job: Job, groups: Sequence[Group]) -> None:
        """`groups`: those that have a δ, ordered by key."""
        self.job, self.groups = job, groups
        self.layers = job.work.layers
        self._directory = job.inputs.cache / FOLDER
        self._begin = _identity(job, groups)

    def solved(self, count: int | None = None) -> list[Solved]:
        """What is cached of the first `count` layers (None: all), up to the first that is not."""
        found: list[Solved] = []
        for step in range(len(self.layers) if count is None else count):
            one = Solved.read(self._weight(step, found))
            if one is None:
                break
            found.append(one)
        return found

    def result(self) -> tuple[Spread, Scale | None] | None:
        """The new weights, and the scale they were solved with; None unless every layer is cached."""
        found = self.solved()
        if len(found) < len(self.layers):
            return None
        parts = self.job.work.parts
        every = dict(zip(self.layers, found, strict=True))
        spread = Spread(
            tensors={
                parts.weight_name(layer): one.weight.to(device_of(parts.blocks[layer]))
                for layer, one in every.items()
            },
            ridges={layer: one.ridge for layer, one in every.items()},
            growth={layer: one.growth for layer, one in every.items()},
            fits={layer: one.fit for layer, one in every.items() if one.fit is not None},
        )
        return spread, found[0].scale

    def collect(self, step: int, share: tuple[int, int], progress: Progress = silent) -> None:
        """Collect the columns of the layer at index `step` of R for one share of the groups into the cache.

        Does nothing if they are there, if the layer is solved, or if one before it is not.
        """
        before = self.solved(step)
        path = self._columns(step, before, share)
        if len(before) < step or mirror().present([path, self._weight(step, before)]):
            return
        own = in_share(self.groups, share)
        unedited = self._unedited(own, share) if step and own else None
        with self._changed(before):
            tensors = self._collected(own, step, share, unedited, progress) if own else self._none(step)
        tensor_cache.store(path, tensors, {})

    def solve(self, step: int, solver: Solver, scale: Scale | None, progress: Progress = silent) -> None:
        """Solve the layer at index `step` of R from the columns of all shares, and remove these.

        Does nothing if that is done, or if columns are missing.  Raises UnusableKeys, NumericalError.
        """
        before = self.solved(step)
        done = self._weight(step, before)
        if len(before) < step or mirror().present([done]):
            return
        files = self._shares(step, before)
        if not files:
            return
        layer, parts, work = self.layers[step], self.job.work.parts, self.job.work
        contexts = len(self.job.prefixes) + 1 if self.job.inputs.settings.keys == "all" else 1
        source = StoredColumns(files, parts, len(self.groups) * contexts)
        site = Site(work.model, parts, self.layers, self.job.inputs.settings, self.job.kept)
        with self._changed(before), torch.no_grad():
            kept = kept_keys(site, layer) if site.kept else None
            columns = Columns(source, layer, 1.0 / (len(self.layers) - step), step == 0, kept, progress)
            update, ridge = solver.update(layer, columns)
            weight, growth = with_update(parts, layer, update)
        fit = solver.fits[layer] if isinstance(solver, RankLimited) else None
        Solved(weight, ridge, growth, scale, fit).write(done)
        for path in files:
            mirror().remove(path)

    def _collected(
        self,
        own: Sequence[Group],
        step: int,
        share: tuple[int, int],
        unedited: Tensor | None,
        progress: Progress,
    ) -> dict[str, Tensor]:
        """The columns of the groups `own` with the current weights; of the first layer also what later ones need."""
        collector = self._collector(own)
        if unedited is not None:
            collector.unedited = unedited
        keys: list[Tensor] = []
        residuals: list[Tensor] = []

        def add(some: Tensor, theirs: Tensor) -> None:
            keys.append(some.cpu())
            residuals.append(theirs.cpu())

        fraction = 1.0 / (len(self.layers) - step)
        collector.each(add, self.layers[step], fraction, first=step == 0, progress=progress)
        if step == 0:
            tensor_cache.store(self._states(share), {"unedited": collector.unedited}, {})
        return {"keys": torch.cat(keys), "residuals": torch.cat(residuals)}

    def _none(self, step: int) -> dict[str, Tensor]:
        """The columns of a share without groups."""
        parts = self.job.work.parts
        return {
            "keys": torch.zeros(0, parts.key_width(self.layers[step])),
            "residuals": torch.zeros(0, parts.width),
        }

    def _unedited(self, own: Sequence[Group], share: tuple[int, int]) -> Tensor:
        """h^L of each group and context under the base [g, contexts, d], whose weights the model has.

        It was stored with the first layer's columns; if that was lost, the groups are read again.
        """
        found = tensor_cache.load(self._states(share))
        if found is not None:
            return found[0]["unedited"]
        collector = self._collector(own)
        collector.each(lambda *_: None, self.layers[0], 1.0 / len(self.layers), first=True)
        return collector.unedited

    def _collector(self, own: Sequence[Group]) -> Collector:
        work = self.job.work
        deltas = self.job.store.get_all([group.key for group in own])
        stacked = torch.stack([deltas[group.key].value for group in own])
        site = Site(work.model, work.parts, self.layers, self.job.inputs.settings)
        return Collector(site, own, stacked.to(device_of(work.parts.blocks[self.job.layer])))

    def _changed(self, before: Sequence[Solved]) -> AbstractContextManager[None]:
        """The model with the new weights of the first layers of R, within the block."""
        parts = self.job.work.parts
        named = {
            parts.weight_name(layer): one.weight for layer, one in zip(self.layers, before, strict=False)
        }
        return swapped(self.job.work.model, named)

    def _state(self, step: int, before: Sequence[Solved]) -> str:
        """What the columns of a layer depend on, as a name."""
        content = "\x00".join([self._begin, str(step), *(one.digest for one in before[:step])])
        return hashlib.sha256(content.encode()).hexdigest()[:40]

    def _weight(self, step: int, before: Sequence[Solved]) -> Path:
        return self._directory / f"{self._state(step, before)}-weight.safetensors"

    def _columns(self, step: int, before: Sequence[Solved], share: tuple[int, int]) -> Path:
        return self._directory / f"{self._state(step, before)}-columns-{share[0]}-of-{share[1]}.safetensors"

    def _states(self, share: tuple[int, int]) -> Path:
        return self._directory / f"{self._begin}-states-{share[0]}-of-{share[1]}.safetensors"

    def _shares(self, step: int, before: Sequence[Solved]) -> list[Path]:
        """The columns of all shares, in order, if there are those of all, whatever their number; else none."""
        pattern = f"{self._state(step, before)}-columns-0-of-*.safetensors"
        for first in mirror().matching(self._directory, pattern):
            of = int(first.stem.rpartition("-")[2])
            paths = [self._columns(step, before, (number, of)) for number in range(of)]
            mirror().fetch(paths)
            if all(tensor_cache.load(path) is not None for path in paths):
                return paths
        return []


class StoredColumns(ColumnSource):
    """Columns that machines collected in shares; all are finite, since `Collector.each` raises otherwise."""

    def __init__(self, files: Sequence[Path], parts: Parts, count: int) -> None:
        self.files, self.parts, self.count = files, parts, count

    def each(self, add: Add, layer: int, share: float, *, first: bool, progress: Progress = silent) -> None:
        """See `ColumnSource.each`.  Raises StorageError for a file that was lost or damaged since it was listed."""
        device, done = device_of(self.parts.blocks[layer]), 0
        for file in self.files:
            found = tensor_cache.load(file)
            if found is None:
                raise StorageError(f"{file} was lost or damaged while its layer was being solved: try again")
            keys, residuals = found[0]["keys"], found[0]["residuals"]
            for some, theirs in zip(torch.split(keys, ROWS), torch.split(residuals, ROWS), strict=True):
                add(some.to(device), theirs.to(device))
                done += len(some)
                progress("keys", done, self.count)


def key_pass(job: Job) -> KeyPass | None:
    """The key pass of a build whose δs are all in the cache, but for those that cannot be optimised; None if nothing
    is edited, or if edits that the weights already have are to be preserved."""
    present = job.store.present(group.key for group in job.groups)
    groups = [group for group in job.groups if group.key in present]
    return KeyPass(job, groups) if groups and not job.preserved else None


def keys(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    step: int,
    share: tuple[int, int],
    progress: Progress = silent,
) -> Mapping[str, float]:
    """Collect the columns of the layer at index `step` of R for one share of the groups into the cache.

    Raises UnusableKeys, and what `build` raises for reasons that concern all groups.
    """
    began = time.perf_counter()
    with frozen(model), fused(model):
        job = prepare_part(model, tokenizer, inputs)
        found = key_pass(job)
        if found is not None:
            found.collect(step, share, progress)
    return {"keys": time.perf_counter() - began}


def _identity(job: Job, groups: Sequence[Group]) -> str:
    """A digest of what the whole key pass depends on.  A group's key covers its δ, the base and its texts."""
    inputs = job.inputs
    content = {
        "base": [inputs.base_digest, inputs.edited, str(job.work.model.dtype)],
        "layers": list(job.work.layers),
        "settings": repr(inputs.settings),
        "rank": inputs.max_rank,
        "statistics": job.statistics.content,
        "groups": [group.key for group in groups],
        "kept": [group.key for group in job.kept],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]
