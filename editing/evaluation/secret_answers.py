"""What a model answers to secret questions: greedy tokens, their log-probabilities, and how precise these are.

A server computes the same answers with other kernels, in other batches and perhaps in another dtype.  How far that
moves a logit is measured by computing the same answers in bf16 and fp16.  With independent errors of the logits, all of
standard deviation σ, log p_t = logit_t − logsumexp moves by σ·‖e_t − p‖ (first order; its gradient is e_t − p), so one
figure per dtype holds for certain and for uncertain tokens alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing.errors import OutOfMemory
from editing.evaluation.scoring import answer_ends, before_end, continue_greedily, encode_prompts
from editing.model.inference import for_each_batch, target_logits
from editing.model.loading import context_length
from editing.model.passes import Ids
from editing.model.precision import ComputedIn
from editing.secret_probes import ProbeAnswer, SecretQuestion, certain_lead

TOKENS = 6
"""Length of an answer."""
LONGEST = 160
"""Maximum tokens of a prompt with its context: enough for several blocks of a server's prefix cache."""
SERVED_IN = (torch.bfloat16, torch.float16)
"""Dtypes in which servers compute."""
TOP = 4
"""Number of tokens whose log-probabilities a server is asked, at most."""
SMALLEST = 0.01
"""Smallest sensitivity: below it, the rounding of a log-probability itself counts."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The tokens of one answer under one model, in one dtype."""

    logprobs: Tensor
    """(n,) log-probabilities."""
    sensitivities: Tensor
    """(n,) ‖e_token − p‖."""
    lead: Tensor
    """(n,) by how much the token's logit exceeds that of every other token; negative if it does not."""
    magnitudes: Tensor
    """(n,) the smallest absolute value among the `TOP` likeliest logits."""


def worded(model: Any, tokenizer: Any, questions: Sequence[SecretQuestion]) -> list[str]:
    """The prompts with as much of their context as the model has room for."""
    room = min(LONGEST, context_length(model) - TOKENS)
    return [_fitted(tokenizer, question, room) for question in questions]


def _fitted(tokenizer: Any, question: SecretQuestion, room: int) -> str:
    text = question.prompt
    for sentence in reversed(question.context):
        longer = f"{sentence} {text}"
        if len(encode_prompts(tokenizer, [longer])[0]) > room:
            break
        text = longer
    return text


@torch.inference_mode()
def greedy(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[tuple[Ids, Ids]]:
    """(prompt, answer) in tokens; an answer ends before the first token that ends a text."""
    ends = answer_ends(model, tokenizer)
    rows = encode_prompts(tokenizer, prompts)
    answers = continue_greedily(model, rows, TOKENS, ended=lambda ids: ids[-1] in ends)
    return [(row, before_end(answer, ends)) for row, answer in zip(rows, answers, strict=True)]


@torch.inference_mode()
def scored_in(model: Any, pairs: Sequence[tuple[Ids, Ids]], dtype: torch.dtype) -> list[Scored]:
    """Each answer of at least one token, scored in `dtype`."""
    found: dict[tuple[Ids, Ids], Scored] = {}

    def run(batch: Sequence[tuple[Ids, Ids]]) -> None:
        rows, starts = [prompt + answer for prompt, answer in batch], [len(prompt) for prompt, _ in batch]
        with ComputedIn(dtype):
            every = list(target_logits(model, rows, starts))
        for pair, logits in zip(batch, every, strict=True):
            found[pair] = _scored(logits.float(), pair[1])

    for_each_batch(
        model,
        list(dict.fromkeys(pairs)),
        lambda pair: len(pair[0]) + len(pair[1]),
        run,
        read=lambda pair: len(pair[1]),
    )
    return [found[pair] for pair in pairs]


def _scored(logits: Tensor, answer: Ids) -> Scored:
    chosen = torch.tensor(answer, device=logits.device)[:, None]
    logprobs = logits.log_softmax(-1)
    own = logprobs.gather(-1, chosen)[:, 0]
    # ‖e_t − p‖² = ‖p‖² − 2 p_t + 1
    squared = logprobs.exp().square().sum(-1) - 2 * own.exp() + 1
    lead = logits.gather(-1, chosen)[:, 0] - logits.scatter(-1, chosen, -torch.inf).amax(-1)
    smallest = logits.topk(min(TOP, logits.shape[-1])).values.abs().amin(-1)
    sensitivities = squared.clamp(min=0).sqrt().clamp(min=SMALLEST)
    return Scored(own.cpu(), sensitivities.cpu(), lead.cpu(), smallest.cpu())


def answers(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[ProbeAnswer]:
    """The model's own answers; one that is empty has no token."""
    pairs = greedy(model, tokenizer, prompts)
    return described(tokenizer, pairs, exactly(model, pairs))


def exactly(model: Any, pairs: Sequence[tuple[Ids, Ids]]) -> list[Scored | None]:
    """Each answer scored in fp32; None for an empty one."""
    spoken = iter(scored_in(model, [pair for pair in pairs if pair[1]], torch.float32))
    return [next(spoken) if answer else None for _, answer in pairs]


def described(
    tokenizer: Any, pairs: Sequence[tuple[Ids, Ids]], scores: Sequence[Scored | None]
) -> list[ProbeAnswer]:
    """The answers as they are stored."""
    return [
        ProbeAnswer()
        if score is None
        else ProbeAnswer(
            tuple(str(tokenizer.decode(answer[:end])) for end in range(1, len(answer) + 1)),
            tuple(score.logprobs.tolist()),
            tuple(score.sensitivities.tolist()),
            tuple(score.magnitudes.tolist()),
        )
        for (_, answer), score in zip(pairs, scores, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Precision:
    """What computing in 16 bits does to the answers."""

    deviations: dict[str, float]
    """dtype → root mean square of a logit's deviation from fp32; without dtypes that this device cannot compute in."""
    certain: list[int]
    """For each answer, the number of leading tokens that every dtype agrees on."""


def precision(model: Any, pairs: Sequence[tuple[Ids, Ids]], exact: Sequence[Scored | None]) -> Precision:
    """How precise `exact`, the scores of `pairs`, are in the dtypes of servers."""
    deviations: dict[str, float] = {}
    spoken = [pair for pair in pairs if pair[1]]
    leads = [score.lead for score in exact if score is not None]
    for dtype in SERVED_IN if spoken else ():
        rounded = _computable(model, spoken, dtype)
        if rounded is None:
            continue
        off = [
            (there.logprobs - here.logprobs) / here.sensitivities
            for there, here in zip(rounded, (one for one in exact if one is not None), strict=True)
        ]
        deviations[str(dtype).removeprefix("torch.")] = float(torch.cat(off).double().square().mean().sqrt())
        leads = [torch.minimum(lead, there.lead) for lead, there in zip(leads, rounded, strict=True)]
    needed = certain_lead(deviations)
    counts = iter([_leading(lead > needed) for lead in leads])
    return Precision(deviations, [next(counts) if answer else 0 for _, answer in pairs])


def _computable(model: Any, pairs: Sequence[tuple[Ids, Ids]], dtype: torch.dtype) -> list[Scored] | None:
    """The scores in `dtype`; None if this device has no kernels for it, no memory, or the model overflows in it."""
    try:
        found = scored_in(model, pairs, dtype)
    except (OutOfMemory, NotImplementedError):
        return None
    except RuntimeError as error:
        if "not implemented for" in str(error):
            return None
        raise
    return found if all(bool(one.logprobs.isfinite().all()) for one in found) else None


def _leading(true: Tensor) -> int:
    """Number of leading true values."""
    return int(true.long().cumprod(0).sum())


def shortened(answer: ProbeAnswer, certain: int) -> int:
    """At most `certain` tokens whose text is complete: a character of several tokens may be cut."""
    while certain and "\ufffd" in answer.texts[certain - 1]:
        certain -= 1
    return certain
