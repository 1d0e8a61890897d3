"""What must be measured of an edited model: the published metrics, and those that are stricter.

CounterFact (ES, PS, NS, S) and zsRE as the paper reports them; strict argmax, perplexity and weight
growth beyond.  Everything here looks at one model as it is; comparing is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch
from torch import Tensor

from editing.errors import DataError
from editing.evaluation.generation import mean
from editing.evaluation.scoring import (
    cut_answer,
    encode_prompts,
    encode_targets,
    greedy_answers,
    score,
)
from editing.model.loading import context_length
from editing.progress import Tick, uncounted

PERPLEXITY_TOKENS = 256
"""Length of a window of held-out text."""


def strict_argmax(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, tick: Tick = uncounted
) -> list[bool]:
    """For every (prompt, target) whether all target tokens are the strict argmax, teacher-forced."""
    return [item.strict for item in score(model, encode_targets(tokenizer, pairs), tick=tick)]


def probabilities(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, tick: Tick = uncounted
) -> list[float]:
    """For every (prompt, target) the geometric mean of its token probabilities (length-normalised)."""
    return [item.probability for item in score(model, encode_targets(tokenizer, pairs), tick=tick)]


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], *, tick: Tick = uncounted) -> list[str]:
    """What the model says after each prompt, greedily, cut where the object ends: for people to read."""
    rows = greedy_answers(model, tokenizer, encode_prompts(tokenizer, prompts), tick=tick)
    return [cut_answer(tokenizer, row)[0] for row in rows]


@dataclass(frozen=True, slots=True)
class CounterFactCase:
    """One CounterFact record: the fact, its rewrite, and the prompts that judge it (all rendered)."""

    prompt: str
    new: str
    old: str
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    """Prompts about other subjects of which `old` is true."""


@dataclass(frozen=True, slots=True)
class CounterFactScores:
    """Means over cases, in [0, 1]; None where no case has such prompts."""

    efficacy: float | None
    """ES: P[new] > P[old] on the edited prompt."""
    paraphrase: float | None
    """PS: the same on paraphrases."""
    neighbourhood: float | None
    """NS: P[old] > P[new] on neighbours' prompts."""
    strict: float | None
    """All tokens of `new` are the strict argmax on the edited prompt."""

    @property
    def score(self) -> float | None:
        """S: the harmonic mean of ES, PS and NS."""
        parts = [p for p in (self.efficacy, self.paraphrase, self.neighbourhood) if p is not None]
        return harmonic_mean(parts) if len(parts) == 3 else None


def counterfact(
    model: Any, tokenizer: Any, cases: Sequence[CounterFactCase], *, tick: Tick = uncounted
) -> CounterFactScores:
    """ES, PS, NS and S as the paper defines them: a case's prompts are averaged first, then the cases."""
    prompts = [(case.prompt, *case.paraphrases, *case.neighbours) for case in cases]
    pairs = [
        (prompt, target)
        for case, asked in zip(cases, prompts, strict=True)
        for prompt in asked
        for target in (case.new, case.old)
    ]
    scored = iter(score(model, encode_targets(tokenizer, pairs), tick=tick))
    efficacy, paraphrase, neighbourhood, strict = [], [], [], []
    for case in cases:
        new, old = next(scored), next(scored)
        efficacy.append(float(new.logprob > old.logprob))
        strict.append(float(new.strict))
        wins = [next(scored).logprob - next(scored).logprob for _ in case.paraphrases + case.neighbours]
        ahead = [float(win > 0) for win in wins[: len(case.paraphrases)]]
        behind = [float(win < 0) for win in wins[len(case.paraphrases) :]]
        paraphrase += [sum(ahead) / len(ahead)] if ahead else []
        neighbourhood += [sum(behind) / len(behind)] if behind else []
    return CounterFactScores(mean(efficacy), mean(paraphrase), mean(neighbourhood), mean(strict))


def teacher_forced_accuracy(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, tick: Tick = uncounted
) -> float | None:
    """zsRE's accuracy: the share of target tokens that are top-1 given those before, averaged over pairs."""
    scored = score(model, encode_targets(tokenizer, pairs), tick=tick)
    return mean([sum(item.right) / len(item.right) for item in scored])


@torch.inference_mode()
def perplexity(model: Any, windows: Sequence[Tensor], *, tick: Tick = uncounted) -> float:
    """exp of the mean negative log-likelihood of a token, over `text_windows` (each (1, T))."""
    total, count = 0.0, 0
    for window in windows:
        ids = window.to(model.device)
        logprobs = model(ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)  # (T-1, V)
        total -= float(logprobs.gather(-1, ids[0, 1:, None]).double().sum())
        count += ids.shape[1] - 1
        tick(1)
    average = total / count
    return math.exp(average) if average < 700 else math.inf


def text_windows(model: Any, tokenizer: Any, file: Path, *, tokens: int = 20_000) -> list[Tensor]:
    """The beginning of a text file as windows of token ids; raises DataError if there is too little."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the held-out text {file} cannot be read as UTF-8: {error}") from error
    ids = tokenizer(text[: tokens * 12], return_tensors="pt", verbose=False)["input_ids"][:, :tokens]
    size = min(PERPLEXITY_TOKENS, context_length(model))
    windows = [window for window in ids.split(size, dim=1) if window.shape[1] > 1]
    if not windows:
        raise DataError(f"the held-out text {file} has fewer than two tokens: give a longer one")
    return windows


def weight_growth(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """The largest ‖W'‖ / ‖W‖ (Frobenius, in fp64) of the tensors in `after`; 1 if there is none."""
    ratios = [
        float(tensor.double().norm()) / float(before[name].double().norm()) for name, tensor in after.items()
    ]
    return max(ratios, default=1.0)
