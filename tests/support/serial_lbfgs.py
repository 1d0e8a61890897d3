"""L-BFGS as the textbook has it, for one δ: the oracle of the batched one (`editing/memit/lbfgs.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def trajectory(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    norm: float,
    clamp: float,
    evaluations: int,
    first: Callable[[Tensor], Tensor] | None = None,
    first_evaluations: int = 0,
) -> tuple[list[Tensor], Tensor, float]:
    """(every δ that is evaluated, the best of them by `loss`, its loss), with steps and δ bounded relative to `norm`.

    The first evaluations are those of another loss, if there is one; then the best δ by that is evaluated by `loss`.
    """
    best, value, slope = start, math.inf, start
    pairs: list[tuple[Tensor, Tensor]] = []
    trial, cap, seen = start, 0.3 * norm, []
    for evaluation in range(evaluations):
        if first is not None and evaluation == first_evaluations:
            trial, cap, value = best, 0.3 * norm, math.inf
        seen.append(trial.clone())
        point = trial.clone().requires_grad_(True)
        found = first(point) if first is not None and evaluation < first_evaluations else loss(point)
        (gradient,) = torch.autograd.grad(found, point)
        finite = bool(torch.isfinite(gradient).all())
        level = float(found.detach())
        better = level < value and finite
        if evaluation not in (0, first_evaluations if first else 0):
            move, bend = trial - best, gradient - slope
            if finite and float(move @ bend) > 0:
                pairs = [*pairs, (move, bend)][-8:]
            cap = min(1.5 * cap, norm) if better else 0.4 * min(cap, float(move.norm()))
        if better:
            best, value, slope = trial, level, gradient
        step = _direction(slope, value, pairs)
        if float(step.norm()) > cap:
            step = step * cap / step.norm()
        trial = best + step
        if float(trial.norm()) > clamp * norm:
            trial = trial * clamp * norm / trial.norm()
    return seen, best, value


def _direction(slope: Tensor, value: float, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    steepest = -slope * value / float(slope @ slope)
    if not pairs:
        return steepest
    left, shares = slope, []
    for move, bend in reversed(pairs):
        shares.append(float(move @ left) / float(move @ bend))
        left = left - shares[-1] * bend
    move, bend = pairs[-1]
    left = left * float(move @ bend) / float(bend @ bend)
    for (move, bend), share in zip(pairs, reversed(shares), strict=True):
        left = left + move * (share - float(bend @ left) / float(move @ bend))
    return -left if float(left @ slope) > 0 else steepest
