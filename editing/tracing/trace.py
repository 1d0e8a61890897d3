"""Causal tracing: where does the model recall a fact?  (MEMIT, Appendix A; Figures 3 and 8.)

The subject's embeddings are corrupted with Gaussian noise, one clean state (or a window of MLP or attention
outputs) is restored, and the recovered P[o] is measured.  With the MLPs (or the attention) at the subject's last
token *severed*, that is, frozen as in the corrupted run, the effect of a restored state shows how much of it passes
through them: R consists of the layers where severing the MLPs costs most.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from editing.errors import DataError
from editing.evaluation.scoring import Question, score
from editing.model.architectures import Architecture, locate_parts
from editing.model.devices import input_device
from editing.model.hooks import frozen
from editing.model.tokens import locate, passage
from editing.model.weights import refuse_unwritable, unwrapped
from editing.progress import Progress, silent
from editing.requests import PLACEHOLDER, EditRequest
from editing.tracing.averages import Intervals, TracedFacts, by_role
from editing.tracing.interventions import Interventions, KnownFact

NOTHING = 0.05
"""A layer whose severing costs at most this share of the largest cost is not worth editing."""


@dataclass(frozen=True)
class TraceResult:
    """Mean effects over the traced facts, in probability of the object."""

    facts: int
    """Number of facts that the model knew and that were traced."""
    sigma: float
    """Standard deviation of the subjects' embeddings; the noise had `noise` times that."""
    clean: float
    """Mean P[o] of the untouched model."""
    corrupted: float
    """Mean P[o] with the subject corrupted."""
    effects: dict[str, list[list[float | None]]]
    """Kind → (layer, role): mean P[o] recovered by restoring there; None if no fact has such a token."""
    severed: dict[str, list[float]]
    """`nothing`, `mlp`, `attention` → by layer, P[o] recovered by restoring the state at the subject's last token
    with that severed above it."""
    intervals: dict[str, Intervals] = field(default_factory=dict)
    """The same keys → by layer, the 95 % interval of that mean (bootstrap over facts)."""
    cost_intervals: Intervals = field(default_factory=list)
    """By layer, the 95 % interval of `cost_of_severing`, over the same draws of facts for both curves."""
    effect_intervals: dict[str, list[list[tuple[float, float] | None]]] = field(default_factory=dict)
    """As `effects`: the 95 % interval of each mean."""

    def cost_of_severing(self) -> list[float]:
        """By layer, how much severing the MLPs reduces the restored effect: the gap of Figure 3."""
        pairs = zip(self.severed["nothing"], self.severed["mlp"], strict=True)
        return [whole - without for whole, without in pairs]

    def suggested_layers(self, count: int = 5) -> tuple[int, ...]:
        """R: at most `count` consecutive layers (not the last), those where severing the MLPs costs most.

        Layers at either end whose severing costs next to nothing (`NOTHING`) are left out: an edit there only spreads
        the change to layers where no fact is recalled.
        """
        gaps = self.cost_of_severing()[:-1]
        count = min(count, len(gaps))
        starts = range(len(gaps) - count + 1)
        best = max(starts, key=lambda start: sum(gaps[start : start + count]))
        layers = list(range(best, best + count))
        least = NOTHING * max(gaps)
        while len(layers) > 1 and min(gaps[layers[0]], gaps[layers[-1]]) <= least:
            layers.pop(0 if gaps[layers[0]] <= gaps[layers[-1]] else -1)
        return tuple(layers)


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Parameters of a trace; defaults as in the paper."""

    samples: int = 10
    """Number of noise draws for each fact."""
    noise: float = 3.0
    """Standard deviation of the noise, as a multiple of that of the subjects' embeddings."""
    window: int = 10
    """Number of consecutive MLP or attention outputs restored at once; at most half the depth."""
    seed: int = 0
    minutes: float | None = None
    """After so long, no further fact is traced; the first one always is.  None: no limit."""


DEFAULTS = TraceSettings()


@torch.inference_mode()
def trace(
    model: Any,
    tokenizer: Any,
    facts: Sequence[EditRequest],
    how: TraceSettings = DEFAULTS,
    *,
    described: Architecture | None = None,
    progress: Progress = silent,
) -> TraceResult:
    """Trace those of `facts` that the model knows (strict argmax).

    A model outside the table of architectures has to be `described`.  Raises DataError if the model knows
    none of the facts, ArchitectureError if no attention module is found.
    """
    model = unwrapped(model)
    refuse_unwritable(model)
    parts = locate_parts(model, described)
    known = _known(model, tokenizer, facts)
    if not known:
        raise DataError(
            f"the model states none of the {len(facts)} facts unedited, so nothing can be traced: give facts that it "
            "knows, with the answers that it gives now"
        )
    sigma = _embedding_deviation(model, known)
    generator = torch.Generator().manual_seed(how.seed)
    traced = TracedFacts(len(parts.blocks))
    window = min(how.window, max(1, len(parts.blocks) // 2))
    began = time.monotonic()
    with frozen(model):
        for number, fact in enumerate(known):
            if number and how.minutes is not None and time.monotonic() - began > 60 * how.minutes:
                break
            size = how.samples, fact.last + 1 - fact.first, parts.width
            drawn = torch.randn(size, generator=generator) * (how.noise * sigma)
            traced.add(fact, Interventions(model, parts, fact, drawn, window))
            progress("tracing", number + 1, len(known))
    costs = traced.averaged(traced.costs())
    effects = {kind: traced.averaged(rows) for kind, rows in traced.effects.items()}
    severed = {name: traced.averaged(rows) for name, rows in traced.severed.items()}
    return TraceResult(
        facts=len(traced.clean),
        sigma=sigma,
        clean=sum(traced.clean) / len(traced.clean),
        corrupted=sum(traced.corrupted) / len(traced.clean),
        effects={kind: by_role(found.means) for kind, found in effects.items()},
        severed={name: [value or 0.0 for value in found.means] for name, found in severed.items()},
        intervals={name: found.known_intervals() for name, found in severed.items()},
        cost_intervals=costs.known_intervals(),
        effect_intervals={kind: by_role(found.intervals) for kind, found in effects.items()},
    )


def _known(model: Any, tokenizer: Any, facts: Sequence[EditRequest]) -> list[KnownFact]:
    """Those of `facts` that the model states, tokenised."""
    located = locate(tokenizer, [passage(fact) for fact in facts])
    starts = locate(tokenizer, [passage(_begun(fact)) for fact in facts])
    candidates = [
        KnownFact(text.ids, start.subject, text.subject, text.target)
        for text, start in zip(located, starts, strict=True)
    ]
    questions = [Question(fact.ids[: fact.prompt], fact.ids[fact.prompt :]) for fact in candidates]
    answers = score(model, questions)
    return [fact for fact, answer in zip(candidates, answers, strict=True) if answer.strict]


def _begun(fact: EditRequest) -> EditRequest:
    """The same text with only its first character as the subject, so that the first token is found."""
    head, rest = fact.subject[:1], fact.subject[1:]
    return EditRequest(fact.id, fact.prompt.replace(PLACEHOLDER, PLACEHOLDER + rest), head, fact.target)


def _embedding_deviation(model: Any, facts: Sequence[KnownFact]) -> float:
    """σ: the standard deviation of the subjects' embedding activations."""
    embedding = model.get_input_embeddings()
    ids = sorted({token for fact in facts for token in fact.ids[fact.first : fact.last + 1]})
    return float(embedding(torch.tensor(ids, device=input_device(model))).float().std())
