"""Asking a model many short questions: teacher-forced scores and greedy answers, in batches.

Questions of equal length go together, so no batch is padded: what a model answers then depends on no
mask, position or padding side of any architecture.  Logits are computed only where they are read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editing.errors import OutOfMemory
from editing.memory import ran_out
from editing.tokens import Passage, continued, locate

Ids = tuple[int, ...]
Tick = Callable[[int], None]
"""Called with the number of questions answered since the last call."""

ANSWER_TOKENS = 12
"""An answer that has not ended by then is cut."""

_END = re.compile(r"\n|[.;:!?](?!\w)|,(?!\d)|<\|")
_INITIAL = re.compile(r"(?:^|[\s.])(?:[A-Z]|[A-Z][a-z]|Jr|Sr|[A-Z]\.[A-Z])$")


@dataclass(frozen=True, slots=True)
class Question:
    """Token ids of a prompt, and of what is to follow it (none: only asked, not scored)."""

    prompt: Ids
    target: Ids = ()


@dataclass(frozen=True, slots=True)
class Score:
    """How a model takes one target after its prompt."""

    right: tuple[bool, ...]
    """For every target token whether it is the strict argmax, given the target tokens before it."""
    logprob: float
    """Mean log-probability of a target token (the length-normalised comparison of CounterFact)."""

    @property
    def strict(self) -> bool:
        """All target tokens are the strict argmax."""
        return all(self.right)

    @property
    def probability(self) -> float:
        return float(torch.tensor(self.logprob, dtype=torch.float64).exp())


def silent(_: int) -> None:
    """A Tick that tells nobody."""


def encode_targets(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[Question]:
    """(prompt, target) pairs tokenised as one running text, and split where the target begins."""
    passages = [Passage(continued(prompt, target), len(prompt), len(prompt)) for prompt, target in pairs]
    return [Question(row.ids[: row.target], row.ids[row.target :]) for row in locate(tokenizer, passages)]


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[Ids]:
    """Prompts as a model reads them before it goes on: without the EOS that some tokenizers append."""
    return [row.ids for row in locate(tokenizer, [Passage(prompt, len(prompt)) for prompt in prompts])]


@torch.inference_mode()
def score(model: Any, questions: Sequence[Question], *, tick: Tick = silent) -> list[Score]:
    """The scores of `questions`, in their order; equal questions are asked once."""
    distinct = list(dict.fromkeys(questions))
    scores: dict[Question, Score] = {}

    def run(batch: Sequence[Question]) -> None:
        width = max(len(question.target) for question in batch)
        ids = torch.tensor([question.prompt + question.target for question in batch], device=model.device)
        logits = model(ids, use_cache=False, logits_to_keep=width + 1).logits[:, :-1]  # (B, width, V)
        wanted = ids[:, -width:]  # (B, width)
        best = sole_argmax(logits) == wanted
        logprobs = logits.float().log_softmax(-1).gather(-1, wanted[..., None])[..., 0]  # (B, width)
        for question, right, logprob in zip(batch, best.tolist(), logprobs.tolist(), strict=True):
            n = len(question.target)
            scores[question] = Score(tuple(right[-n:]), sum(logprob[-n:]) / n)
        tick(len(batch))

    for batch in equal_lengths(model, distinct, lambda question: len(question.prompt) + len(question.target)):
        run_or_halve(batch, run)
    return [scores[question] for question in questions]


def sole_argmax(logits: Tensor) -> Tensor:
    """Index of the largest logit, or -1 where it is not the only one or not a number: (…, V) -> (…)."""
    top = logits.float().topk(2, dim=-1)
    alone = top.values[..., 0] > top.values[..., 1]
    return torch.where(alone, top.indices[..., 0], -1)


@torch.inference_mode()
def continue_greedily(
    model: Any,
    prompts: Sequence[Ids],
    tokens: int,
    *,
    stop: frozenset[int] = frozenset(),
    tick: Tick = silent,
) -> list[Ids]:
    """The `tokens` likeliest next tokens of every prompt, in order (fewer where all rows met a `stop`)."""
    distinct = list(dict.fromkeys(prompts))
    answers: dict[Ids, Ids] = {}

    def run(batch: Sequence[Ids]) -> None:
        ids = torch.tensor(batch, device=model.device)
        rows = [row.tolist() for row in greedy_steps(model, ids, tokens, stop)]
        answers.update((prompt, tuple(row)) for prompt, row in zip(batch, rows, strict=True))
        tick(len(batch))

    for batch in equal_lengths(model, distinct, len, extra=tokens):
        run_or_halve(batch, run)
    return [answers[prompt] for prompt in prompts]


def greedy_steps(model: Any, ids: Tensor, tokens: int, stop: frozenset[int]) -> Tensor:
    """(B, T) prompts -> (B, ≤ tokens) continuations."""
    cache = DynamicCache(config=model.config)
    stops = torch.tensor(sorted(stop), dtype=torch.long, device=ids.device)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    said: list[Tensor] = []
    following = ids
    for _ in range(tokens):
        output = model(following, past_key_values=cache, use_cache=True, logits_to_keep=1)
        following = output.logits[:, -1].argmax(-1, keepdim=True)  # (B, 1)
        said.append(following)
        done |= torch.isin(following[:, 0], stops)
        if bool(done.all()):
            break
    return torch.cat(said, dim=1)


def equal_lengths(
    model: Any, items: Iterable[Any], length: Callable[[Any], int], *, extra: int = 0
) -> Iterator[list[Any]]:
    """`items` in batches of equal `length`, shortest first, within a budget of tokens."""
    budget = 65_536 if model.device.type == "cuda" else 8_192
    buckets: dict[int, list[Any]] = defaultdict(list)
    for item in items:
        buckets[length(item)].append(item)
    for size, bucket in sorted(buckets.items()):
        step = max(1, budget // (size + extra))
        for start in range(0, len(bucket), step):
            yield bucket[start : start + step]


def run_or_halve(batch: Sequence[Any], run: Callable[[Sequence[Any]], None]) -> None:
    """Run a batch, in halves where it does not fit in memory; raises OutOfMemory if one item does not."""
    try:
        run(batch)
        return
    except RuntimeError as error:
        if not ran_out(error):
            raise
        if len(batch) == 1:
            raise OutOfMemory(f"a single question does not fit in memory ({error}); free some") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    run_or_halve(batch[: len(batch) // 2], run)
    run_or_halve(batch[len(batch) // 2 :], run)


def answer_length(text: str, target: str = "") -> int:
    """Where the object that `text` begins with ends, in characters: at a punctuation mark or a newline.

    Marks within `target`, if the text begins with it, belong to the object, and so does the full stop
    of an initial or a short abbreviation ("Joseph R. Biden", "St. Petersburg").
    """
    lead = len(text) - len(text.lstrip())
    at_least = lead + len(target) if target and text.startswith(target, lead) else 0
    if at_least and target[-1] in ".!?":
        return at_least
    for match in _END.finditer(text):
        before = text[: match.start()]
        if match.start() < at_least or not before.strip():
            continue
        if match[0] == "." and _INITIAL.search(before) and text[match.end() :].strip():
            continue
        return match.start()
    return len(text)


def cut_answer(tokenizer: Any, ids: Ids, target: str = "") -> tuple[str, Ids]:
    """The object in a greedy continuation: its text for people, and the tokens that spell it.

    A continuation that begins with `target` is not cut inside it.
    """
    text = tokenizer.decode(ids, skip_special_tokens=True)
    end = answer_length(text, target)
    count = next(
        (n for n in range(1, len(ids)) if len(tokenizer.decode(ids[:n], skip_special_tokens=True)) >= end),
        len(ids),
    )
    return text[:end].strip(), ids[:count]


def ending_tokens(tokenizer: Any) -> frozenset[int]:
    """Tokens at which a greedy answer has surely ended (a full stop may belong to an abbreviation)."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    marks = {"\n", "Ċ", ".\n", ".Ċ", "<0x0A>", ";", "?", "!"}
    ending = {index for token, index in vocabulary.items() if token in marks}
    if tokenizer.eos_token_id is not None:
        ending.add(tokenizer.eos_token_id)
    return frozenset(ending)
