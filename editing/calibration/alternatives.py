"""What a search tries instead of the best settings so far, one hyper-parameter at a time.

Each function yields directions; a direction is followed as long as it improves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from editing.calibration.judgement import SearchPoint
from editing.model.architectures import Parts
from editing.settings import AUTO

SHALLOW = 8
"""Up to so many blocks, further sets of layers are tried."""
FARTHEST = 4
"""Steps of λ in one direction at most."""


def difference(before: SearchPoint, after: SearchPoint) -> dict[str, Any]:
    """The settings of `after` that differ."""
    changed = {
        name: getattr(after.settings, name)
        for name in after.settings.__dataclass_fields__
        if getattr(after.settings, name) != getattr(before.settings, name)
    }
    return changed | ({"variants": after.variants} if after.variants != before.variants else {})


def changed(candidate: SearchPoint, **settings: Any) -> SearchPoint:
    """The candidate with other settings."""
    return replace(candidate, settings=replace(candidate.settings, **settings))


def optimisers(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """L-BFGS, which needs a third of Adam's time; it is tried from Adam only."""
    if best.settings.optimiser == "adam":
        yield [changed(best, optimiser="lbfgs", steps=18)]


def windows(best: SearchPoint, parts: Parts) -> Iterator[Sequence[SearchPoint]]:
    """Layers below and above those of `best`, half a window at a time; λ is derived again for each.

    In models with few blocks also all layers below, and one layer more above.
    """
    layers = best.settings.layers
    step = max(1, len(layers) // 2)
    for sign in (-1, 1):
        direction = []
        for distance in (1, 2, 3):
            moved = tuple(layer + sign * step * distance for layer in layers)
            kept = tuple(
                layer for layer in moved if layer in parts.editable and layer < len(parts.blocks) - 1
            )
            if kept and kept != layers and len(kept) == len(moved):
                direction.append(changed(best, layers=kept, lam=AUTO))
        if direction:
            yield direction
    if len(parts.blocks) > SHALLOW:
        return
    if layers[0] > 0:
        yield [changed(best, layers=tuple(range(layers[-1] + 1)), lam=AUTO)]
    if layers[-1] + 1 in parts.editable and layers[-1] + 1 < len(parts.blocks) - 1:
        yield [changed(best, layers=(*layers, layers[-1] + 1), lam=AUTO)]


def lambdas(best: SearchPoint, factor: float, steps: int = FARTHEST) -> Iterator[Sequence[SearchPoint]]:
    """The λ that leverage gives, if another is in force; then λ raised, and lowered, by `factor` at a time."""
    if best.settings.lam == AUTO:
        return  # nothing could be edited, so that no λ was derived
    yield [changed(best, lam=AUTO)]
    lam = float(best.settings.lam)
    for by in (factor, 1 / factor):
        yield [changed(best, lam=float(f"{lam * by**step:.3g}")) for step in range(1, steps + 1)]


def clamps(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """A longer δ, and a shorter one."""
    clamp = best.settings.clamp
    yield [changed(best, clamp=clamp * 2), changed(best, clamp=clamp * 4)]
    yield [changed(best, clamp=clamp / 2)]


def decays(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """No weight decay, or some."""
    yield [changed(best, weight_decay=0.0 if best.settings.weight_decay else 0.5)]


def kls(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """More weight on what the subject's other prompts say, which protects its other relations; and less."""
    kl = best.settings.kl
    yield [changed(best, kl=kl * 8), changed(best, kl=kl * 32)]
    yield [changed(best, kl=kl / 8)]


def keeps(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """The subject's other relations as sentences whose keys stay as they are; they cost paraphrases."""
    yield [changed(best, keep=weight) for weight in (0.2, 1.0) if weight > best.settings.keep]
    if best.settings.keep:
        yield [changed(best, keep=0.0)]


def conversations(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """With the questions of conversations, or without."""
    yield [changed(best, chat=not best.settings.chat)]


def wordings(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """One further wording, or none."""
    yield [replace(best, variants=0 if best.variants else 1)]


def ridges(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """A ridge on the statistics, or none."""
    ridge = best.settings.ridge
    yield [changed(best, ridge=value) for value in (0.01, 0.1) if value > ridge]
    if ridge:
        yield [changed(best, ridge=0.0)]


def narrower(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """Fewer layers below the same upper end, for which the δs are the same."""
    layers = best.settings.layers
    if len(layers) > 1:
        yield [changed(best, layers=layers[len(layers) // 2 :]), changed(best, layers=layers[-1:])]
