"""Asking a model many short questions: teacher-forced scores and greedy answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from editing.evaluation.words import INITIAL, STOP
from editing.model.inference import Continuation, for_each_batch, target_logits
from editing.model.loading import context_length
from editing.model.memory import halving
from editing.model.passes import Ids
from editing.model.text_trees import TextTree, in_trees, logits_at, saves_tokens
from editing.model.tokens import Passage, continued, locate
from editing.progress import Tick, uncounted

T = TypeVar("T")

ANSWER_TOKENS = 12
"""Maximum tokens of an answer; a longer one is truncated."""
LEAVING = 0.75
"""Rows that have ended leave their batch once no more than this share of it goes on."""


@dataclass(frozen=True, slots=True)
class Question:
    """Token ids of a prompt and of its target."""

    prompt: Ids
    target: Ids

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.target)


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of one target after its prompt."""

    right: tuple[bool, ...]
    """For every target token, whether it is the strict argmax, given the target tokens before it."""
    logprob: float
    """Mean log-probability of a target token (the length-normalised comparison of CounterFact)."""

    @property
    def strict(self) -> bool:
        """All target tokens are the strict argmax."""
        return all(self.right)

    @property
    def accuracy(self) -> float:
        """The share of target tokens that are the strict argmax."""
        return sum(self.right) / len(self.right)

    @property
    def probability(self) -> float:
        return math.exp(self.logprob)


def encode_targets(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[Question]:
    """(prompt, target) pairs tokenised as one running text, and split where the target begins."""
    passages = [Passage(continued(prompt, target), len(prompt), len(prompt)) for prompt, target in pairs]
    return [Question(row.ids[: row.target], row.ids[row.target :]) for row in locate(tokenizer, passages)]


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[Ids]:
    """Tokenised prompts to be continued: without the EOS that some tokenizers append."""
    return [row.ids for row in locate(tokenizer, [Passage(prompt, len(prompt)) for prompt in prompts])]


@torch.inference_mode()
def score(
    model: Any,
    questions: Sequence[Question],
    *,
    observe: Callable[[Ids, Tensor], None] = lambda _, __: None,
    tick: Tick = uncounted,
) -> list[Score]:
    """The scores of `questions`, in their order; equal questions are asked once.

    `observe` is called with each question's prompt and the logits (V,) of the token after it.
    """
    distinct = list(dict.fromkeys(questions))
    scores: dict[Question, Score] = {}
    answer = _score_trees if saves_tokens(model, [_read(one) for one in distinct]) else _score_rows

    def keep(question: Question, found: Score, first: Tensor) -> None:
        scores[question] = found
        observe(question.prompt, first)

    answer(model, distinct, keep, tick)
    return [scores[question] for question in questions]


Keep = Callable[[Question, Score, Tensor], None]
"""Called with a question, its score, and the logits (V,) of the token after its prompt."""


def _score_rows(model: Any, questions: Sequence[Question], keep: Keep, tick: Tick) -> None:
    """In batches of padded rows."""

    def run(batch: Sequence[Question]) -> None:
        rows = [question.prompt + question.target for question in batch]
        starts = [len(question.prompt) for question in batch]
        for question, logits in zip(batch, target_logits(model, rows, starts), strict=True):
            keep(question, scored(logits, question.target), logits[0])
        tick(len(batch))

    for_each_batch(model, questions, lambda q: q.length, run, read=lambda q: len(q.target))


def _score_trees(model: Any, questions: Sequence[Question], keep: Keep, tick: Tick) -> None:
    """In trees of questions that begin alike."""

    def run(batch: Sequence[Question]) -> None:
        tree = TextTree()
        paths = [tree.add(_read(question))[len(question.prompt) - 1 :] for question in batch]
        place = {node: at for at, node in enumerate(dict.fromkeys(node for path in paths for node in path))}
        logits = logits_at(model, tree, list(place))  # (nodes, V)
        read = [[place[node] for node in path] for path in paths]
        rights, logprobs = _told(logits, read, [question.target for question in batch])
        for question, places, right, logprob in zip(batch, read, rights, logprobs, strict=True):
            keep(question, Score(right, sum(logprob) / len(logprob)), logits[places[0]])
        tick(len(batch))

    for batch in in_trees([_read(question) for question in questions]):
        halving([questions[index] for index in batch], run)


def _told(
    logits: Tensor, read: Sequence[Sequence[int]], targets: Sequence[Ids]
) -> tuple[Iterator[tuple[bool, ...]], Iterator[tuple[float, ...]]]:
    """For each of `targets`, by token: whether it is the strict argmax, and its log-probability.

    `read` are the rows of `logits` that predict its tokens.  All are computed at once, since a target has few.
    """
    rows = torch.tensor([row for some in read for row in some], device=logits.device)
    wanted = torch.tensor([id for target in targets for id in target], device=logits.device)
    right = iter((sole_argmax(logits)[rows] == wanted).tolist())
    logprob = iter(logits.float().log_softmax(-1)[rows, wanted].tolist())
    lengths = [len(target) for target in targets]
    return (
        (tuple(islice(right, length)) for length in lengths),
        (tuple(islice(logprob, length)) for length in lengths),
    )


def _read(question: Question) -> Ids:
    """What the model reads: the last token of the target is only predicted."""
    return (question.prompt + question.target)[:-1]


def scored(logits: Tensor, target: Ids) -> Score:
    """The score of `target` under `logits` (tokens, V)."""
    wanted = torch.tensor(target, device=logits.device)
    right = sole_argmax(logits) == wanted
    logprobs = logits.float().log_softmax(-1).gather(-1, wanted[:, None])
    return Score(tuple(right.tolist()), float(logprobs.mean()))


def sole_argmax(logits: Tensor) -> Tensor:
    """Index of the largest logit, or -1 if it is not unique or not a number: (…, V) -> (…)."""
    top = logits.float().topk(2, dim=-1)
    alone = top.values[..., 0] > top.values[..., 1]
    return torch.where(alone, top.indices[..., 0], -1)


@torch.inference_mode()
def continue_greedily(
    model: Any,
    prompts: Sequence[Ids],
    tokens: int,
    *,
    ended: Callable[[Ids], bool] = lambda _: False,
    tick: Tick = uncounted,
) -> list[Ids]:
    """The likeliest next tokens of every prompt, in order: `tokens` of them, or until it has `ended`.

    An answer does not depend on the others.  A prompt that leaves less space in the model's context is continued
    to the end of the context.
    """
    answers: dict[Ids, Ids] = {}

    def run(batch: Sequence[Ids], room: int) -> None:
        rows = _greedily(model, batch, room, ended) if room else [() for _ in batch]
        answers.update(zip(batch, rows, strict=True))
        tick(len(batch))

    for_each_room(model, list(dict.fromkeys(prompts)), len, run, tokens)
    return [answers[prompt] for prompt in prompts]


def _greedily(model: Any, batch: Sequence[Ids], tokens: int, ended: Callable[[Ids], bool]) -> list[Ids]:
    continuation = Continuation(model, batch)
    rows: list[list[int]] = [[] for _ in batch]
    running = list(range(len(batch)))
    """The rows that the continuation still has; those that have ended leave it together, since leaving copies all."""
    unfinished = set(running)
    for step in range(tokens):
        following = continuation.logits.argmax(-1)
        for row, token in zip(running, following.tolist(), strict=True):
            if row in unfinished:
                rows[row].append(token)
        unfinished = {row for row in unfinished if not ended(tuple(rows[row]))}
        if not unfinished or step + 1 == tokens:
            break
        if len(unfinished) <= LEAVING * len(running):
            kept = [at for at, row in enumerate(running) if row in unfinished]
            continuation.keep(kept)
            following, running = following[kept], [running[at] for at in kept]
        continuation.append(following)
    return [tuple(row) for row in rows]


def for_each_room(
    model: Any,
    items: Sequence[T],
    length: Callable[[T], int],
    run: Callable[[Sequence[T], int], None],
    tokens: int,
) -> None:
    """Call `run(batch, room)` on batches of `items` that are continued by the same number of tokens.

    That number is `tokens`, or what the model's context leaves for an item, so that the continuation of a prompt
    does not depend on the length of the others in its batch.
    """
    context = context_length(model)
    rooms: dict[int, list[T]] = {}
    for item in items:
        rooms.setdefault(max(0, min(tokens, context - length(item))), []).append(item)
    for room, some in rooms.items():
        for_each_batch(model, some, length, lambda batch, room=room: run(batch, room), extra=room)  # type: ignore[misc]


def greedy_answers(
    model: Any, tokenizer: Any, prompts: Sequence[Ids], *, tick: Tick = uncounted
) -> list[Ids]:
    """Greedy continuations of `prompts`, long enough to contain the whole object.

    None continues beyond its first end token; one that begins with an end token consists of that token.
    """
    ends = answer_ends(model, tokenizer)

    def ended(continuation: Ids) -> bool:
        if continuation[-1] in ends:
            return True
        text = tokenizer.decode(continuation, skip_special_tokens=True)
        return answer_length(text) < len(text) - 1

    rows = continue_greedily(model, prompts, ANSWER_TOKENS, ended=ended, tick=tick)
    return [before_end(row, ends) or row[:1] for row in rows]


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end a text: the tokenizer's EOS, and those in the model's generation settings (one or several)."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = [*configured] if isinstance(configured, list | tuple) else [configured]
    return frozenset(int(id) for id in (*ids, tokenizer.eos_token_id) if id is not None)


def answer_ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids at which an answer ends: those that end a text, and every special token."""
    return end_tokens(model, tokenizer) | special_ids(tokenizer)


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that the tokenizer marks as special, whether or not they have a role (EOS, BOS, …)."""
    added = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def before_end(ids: Sequence[int], ends: Collection[int]) -> Ids:
    """The tokens before the first of `ends`: what follows an end belongs to another text."""
    return tuple(ids[: next((index for index, id in enumerate(ids) if id in ends), len(ids))])


def answer_length(text: str, target: str = "") -> int:
    """Index of the character at which the object that begins `text` ends: a punctuation mark or a newline.

    Marks within `target`, if the text begins with it, belong to the object, and so does the full stop
    of an initial or a short abbreviation ("Joseph R. Biden", "St. Petersburg").
    """
    lead = len(text) - len(text.lstrip())
    at_least = lead + len(target) if target and text.startswith(target, lead) else 0
    if at_least and target[-1] in ".!?":
        return at_least
    for match in STOP.finditer(text):
        before = text[: match.start()]
        if match.start() < at_least or not before.strip():
            continue
        if match[0] == "." and INITIAL.search(before) and text[match.end() :].strip():
            continue
        return int(match.start())
    return len(text)


def cut_answer(tokenizer: Any, ids: Ids, target: str = "") -> tuple[str, Ids]:
    """The object in a greedy continuation: its text for display, and its tokens.

    A continuation that begins with `target` is not cut inside it.  It ends at its first special token at the
    latest; if it begins with one, that token is the answer.
    """
    ids = before_end(ids, special_ids(tokenizer)) or ids[:1]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    end = answer_length(text, target)
    count = next(
        (n for n in range(1, len(ids)) if len(tokenizer.decode(ids[:n], skip_special_tokens=True)) >= end),
        len(ids),
    )
    return text[:end].strip(), ids[:count]
