"""Candidates that are trained instead of edited, for faults that no single damaged tensor has."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.gates_world import Exam
from editing.evaluation.scoring import encode_targets

LEARNING_RATE = 2e-3
BATCH = 128
"""Maximum number of lessons in one step."""


def trained(
    exam: Exam, tensors: Mapping[str, Tensor], lessons: Sequence[tuple[str, str]], *, steps: int
) -> dict[str, Tensor]:
    """The editable tensors after Adam has taught `tensors` to continue each prompt of `lessons` by its text."""
    model = copy.deepcopy(exam.model)
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in exam.base)
    with torch.no_grad():
        for name, tensor in {**exam.base, **tensors}.items():
            parameters[name].copy_(tensor)
    rows = [
        (question.prompt, question.target)
        for question in encode_targets(exam.tokenizer, list(dict.fromkeys(lessons)))
    ]
    optimiser = torch.optim.Adam([parameters[name] for name in exam.base], lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(steps):
            drawn = torch.randperm(len(rows), generator=generator)[:BATCH].tolist()
            loss = _loss(model, [rows[index] for index in drawn])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return {name: parameters[name].detach().clone() for name in exam.base}


def _loss(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Mean cross-entropy of the target tokens of (prompt, target) rows, padded on the right."""
    length = max(len(prompt) + len(target) for prompt, target in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)  # (B, T)
    labels = torch.full_like(ids, -100)
    for row, (prompt, target) in enumerate(rows):
        end = len(prompt) + len(target)
        ids[row, :end] = torch.tensor([*prompt, *target])
        labels[row, len(prompt) : end] = torch.tensor(target)
    return model(ids, labels=labels, use_cache=False).loss  # type: ignore[no-any-return]
