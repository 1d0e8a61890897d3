"""Whether the engine does on a family what the paper says, measured against the plain serial reading in fp64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from editing.errors import ArchitectureError
from editing.memit.groups import form_groups
from editing.memit.keys import Site
from editing.memit.solvers import LeastSquares
from editing.memit.spread import spread
from editing.memit.statistics import Moments
from editing.memit.targets import Optimisation
from editing.model.architectures import Parts, locate_parts
from editing.model.hooks import frozen
from editing.model.self_test import SelfTest, self_test
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.families import tiny_family
from tests.support.serial import Fact, Hyper, Serial
from tests.support.zoo import Fp64Throughout, tokenizer

KIND = "sentencepiece-bos"
FACTS = (Fact("The capital of ", "Zürich", " is", "Rome now"),)
PREFIXES = ("The rain in Rome",)
HYPER = Hyper(3, 0.3, 0.5, 0.0625, 0.5, 3.0)
LIMIT = 1e-6
"""Largest relative difference of an exact family: where a norm follows W_out its ε shows, else it is 1e-13."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one family."""

    found: str
    """Where the blocks and W_out were found; empty where none was."""
    layers: int
    """How many layers can be edited …"""
    depth: int
    """… of how many."""
    whole: bool
    """Whether texts are run whole, for want of an exact prefix cache."""
    deviation: float
    """Largest relative difference of δ, or of the update, from the serial reading; infinite where none was made."""
    reason: str
    """Why it is not exact, or not in all layers; empty where it is."""

    @property
    def exact(self) -> bool:
        return self.deviation <= LIMIT


def examine(kind: str) -> Outcome:
    """Draw up a tiny model of the family, find its parts, test it, and compare one edit with the serial reading."""
    try:
        model = tiny_family(kind)
        with torch.no_grad():
            model(torch.arange(4, 16)[None], use_cache=False)
    except Exception as error:  # noqa: BLE001  (configurations of any kind: what cannot be built is the outcome)
        what = f"no tiny model could be drawn up by rule ({type(error).__name__})"
        return Outcome("", 0, 0, False, float("inf"), what)
    try:
        parts = locate_parts(model)
    except ArchitectureError as error:
        return Outcome("", 0, 0, False, float("inf"), _short(str(error)))
    with frozen(model), Fp64Throughout():
        test = self_test(model, parts)
        writer = next(found.writer for found in parts.inside if found.writer)
        where = f"{parts.architecture.blocks}[i].{writer}"
        depth = len(parts.blocks)
        failed = [f"{verdict.name}: {verdict.detail}" for verdict in test.verdicts if not verdict.passed]
        reasons = sorted({_short(reason) for reason in test.refused.values()})
        if failed:
            return Outcome(where, 0, depth, bool(test.whole), float("inf"), (reasons or failed)[0])
        gap = compared(model, parts, test)
    if gap > LIMIT:
        reasons = ["optimised targets or updates differ from the serial reading"]
    return Outcome(where, len(test.layers), depth, bool(test.whole), gap, reasons[0] if reasons else "")


def compared(model: Any, parts: Parts, test: SelfTest) -> float:
    """The largest relative difference of one edit's δs, keys' updates and all, from the serial reading."""
    below = [layer for layer in test.layers if layer < len(parts.blocks) - 1]
    layers = tuple(below[:2])
    if not layers:
        return float("inf")
    settings = EditSettings(
        layers=layers, steps=3, lr=0.3, clamp=0.5, weight_decay=0.5, lam=3.0, stop_loss=-1.0, optimiser="adam"
    )
    requests = [
        EditRequest(str(i), f"{fact.before}{{}}{fact.after}", fact.subject, fact.target)
        for i, fact in enumerate(FACTS)
    ]
    groups = form_groups(tokenizer(KIND), requests, prefixes=PREFIXES, kl_prompts={}, identity={})
    facts = [FACTS[int(group.requests[0].id)] for group in groups]
    every = range(len(parts.blocks))
    writers = [parts.writer(layer) if layer in parts.editable else None for layer in every]
    norms = [parts.norm(layer) for layer in every]
    serial = Serial(
        model, tokenizer(KIND), parts.blocks, writers, norms, [parts.gain(layer) for layer in every]
    )
    optimisation = Optimisation(model, parts, groups, settings, layer=layers[-1])
    for _ in range(settings.steps - 1):
        optimisation.update(optimisation.gradient())
    gaps = []
    for index, fact in enumerate(facts):
        kept = [(f"{fact.subject} is a", len(fact.subject), True)]
        reference, _ = serial.trajectory([fact], kept, PREFIXES, HYPER, layers[-1])
        gaps.append(_apart(optimisation.delta[index], reference[-1]))
    return max(
        *gaps,
        *_spread_apart(
            model, parts, serial, Site(model, parts, layers, settings), groups, facts, optimisation.delta
        ),
    )


def _spread_apart(
    model: Any, parts: Parts, serial: Serial, site: Site, groups: Any, facts: list[Fact], deltas: torch.Tensor
) -> list[float]:
    """How far the updates of W_out are apart, layer by layer."""
    generator = torch.Generator().manual_seed(1)
    moments = {}
    for layer in site.layers:
        keys = torch.randn(200, parts.key_width(layer), generator=generator, dtype=torch.float64)
        moments[layer] = keys.T @ keys / 200
    weights = {layer: parts.writer(layer).weight for layer in site.layers}
    before = {layer: weight.detach().clone() for layer, weight in weights.items()}
    result = spread(
        site, groups, deltas, LeastSquares(Moments(moments.__getitem__), float(site.settings.lam))
    )
    for layer, weight in weights.items():
        weight.data.copy_(before[layer])
    reference = serial.spread(
        facts,
        list(deltas),
        PREFIXES,
        HYPER,
        site.layers,
        [moments[layer] for layer in site.layers],
        [result.ridges[layer] for layer in site.layers],
        every_context=True,
    )
    gaps = []
    for layer, (_, update) in zip(site.layers, reference, strict=True):
        ours = result.tensors[parts.weight_name(layer)] - before[layer]
        gaps.append(_apart(ours.T if parts.transposed(layer) else ours, update))
    return gaps


def _apart(ours: torch.Tensor, reference: torch.Tensor) -> float:
    gap = float((ours - reference).norm() / max(float(reference.norm()), 1e-3))
    return gap if gap == gap else float("inf")


def _short(reason: str) -> str:
    """The first sentence, without the numbers of one model."""
    text = reason.partition(". If that is wrong")[0].partition(" has no layer that could be edited: ")
    return (text[2] or text[0]).partition(" (by ")[0].partition("; MoE")[0]
