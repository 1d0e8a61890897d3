"""Answers to an exam's questions in files, so that machines can divide an exam, and a build finds what they asked.

A model's answers are stored under a digest of its weights, and of the base: where a build's weights are others, nothing
is found, and the build asks itself.  A damaged file counts as absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.evaluation.generation import GeneratedText
from editing.evaluation.locality import NextToken
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Question, Score
from editing.memit import tensor_cache

_CONTENT = "answers"


def weights_digest(base_digest: str, tensors: Mapping[str, Tensor]) -> str:
    """Of the base with `tensors` in place of its own."""
    digest = hashlib.sha256(base_digest.encode())
    for name, tensor in sorted(tensors.items()):
        ready = tensor.detach().cpu().contiguous()
        digest.update(f"\0{name}\0{ready.dtype}\0{tuple(ready.shape)}\0".encode())
        digest.update(ready.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass
class ExamAnswers:
    """The answers of several models."""

    models: dict[str, Responses] = field(default_factory=dict)
    """By digest of the weights."""
    alone: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Request id → (content key of its group, whether the base states it with only that group's δ injected)."""

    def write(self, path: Path) -> None:
        content = {
            "models": {digest: _as_json(one) for digest, one in self.models.items()},
            "alone": self.alone,
        }
        raw = bytearray(json.dumps(content).encode())
        tensor_cache.store(path, {_CONTENT: torch.frombuffer(raw, dtype=torch.uint8)}, {})

    @classmethod
    def read(cls, paths: Iterable[Path]) -> ExamAnswers:
        """What is in the files that are there and whole."""
        found = cls()
        for path in paths:
            stored = tensor_cache.load(path)
            if stored is None:
                continue
            content = json.loads(bytes(stored[0][_CONTENT].numpy()))
            for digest, one in content["models"].items():
                _add(found.models.setdefault(digest, Responses()), _from_json(one))
            found.alone |= {id: (group, stated) for id, (group, stated) in content["alone"].items()}
        return found

    def stated_alone(self, groups: Mapping[str, str]) -> dict[str, bool]:
        """Request id → whether its fact is stated with its δ alone, of the requests that still have that group."""
        return {id: stated for id, (group, stated) in self.alone.items() if groups.get(id) == group}

    def give(self, responses: Responses, base_digest: str, tensors: Mapping[str, Tensor]) -> None:
        """Add to `responses` what the model of these weights answered; what it has itself stays."""
        if self.models and (stored := self.models.get(weights_digest(base_digest, tensors))) is not None:
            _add(responses, stored)


def _add(to: Responses, stored: Responses) -> None:
    for name in ("scores", "greedy", "texts", "free", "next_tokens", "divergences"):
        own = getattr(to, name)
        for asked, answer in getattr(stored, name).items():
            own.setdefault(asked, answer)


def _as_json(one: Responses) -> dict[str, list[Any]]:
    return {
        "scores": [[q.prompt, q.target, s.right, s.logprob] for q, s in one.scores.items()],
        "greedy": [[prompt, answer] for prompt, answer in one.greedy.items()],
        "texts": [[prompt, said.text, said.answer] for prompt, said in one.texts.items()],
        "free": [[prompt, answer] for prompt, answer in one.free.items()],
        "next": [[p, n.tokens.tolist(), n.logprobs.tolist()] for p, n in one.next_tokens.items()],
        "divergences": [[prompt, value] for prompt, value in one.divergences.items()],
    }


def _from_json(value: Mapping[str, list[Any]]) -> Responses:
    return Responses(
        scores={
            Question(tuple(prompt), tuple(target)): Score(tuple(right), logprob)
            for prompt, target, right, logprob in value["scores"]
        },
        greedy={tuple(prompt): tuple(answer) for prompt, answer in value["greedy"]},
        texts={prompt: GeneratedText(text, answer) for prompt, text, answer in value["texts"]},
        free=dict(value["free"]),
        next_tokens={
            tuple(prompt): NextToken(
                torch.tensor(tokens, dtype=torch.int32), torch.tensor(logprobs, dtype=torch.float32)
            )
            for prompt, tokens, logprobs in value["next"]
        },
        divergences={tuple(prompt): float(number) for prompt, number in value["divergences"]},
    )
