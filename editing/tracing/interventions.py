"""Interventions on one fact: a corrupted run, with clean states restored and modules severed.

`trace.py` decides the layers, tokens and windows of a trace; this module carries out the interventions, many
in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from editing.errors import ArchitectureError
from editing.model.architectures import Parts
from editing.model.devices import input_device
from editing.model.hooks import on_output
from editing.model.inference import Ids, target_logits

StateKind = Literal["state", "mlp", "attention"]

ROLES = (
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first subsequent token",
    "further tokens",
    "last token",
)
_ROWS_TOKENS = 16_384
"""Number of tokens in one pass."""


@dataclass(frozen=True)
class KnownFact:
    """One known fact, tokenised, with its clean run."""

    ids: Ids
    first: int
    """Index of the subject's first token."""
    last: int
    """Index of the subject's last token."""
    prompt: int
    """Number of prompt tokens; the target follows."""

    def roles(self) -> dict[str, list[int]]:
        """Role → token indices, from the first subject token on (earlier tokens are never corrupted)."""
        end = self.prompt - 1
        return {
            ROLES[0]: [self.first] if self.first < self.last else [],
            ROLES[1]: list(range(self.first + 1, self.last)),
            ROLES[2]: [self.last],
            ROLES[3]: [self.last + 1] if self.last + 1 < end else [],
            ROLES[4]: list(range(self.last + 2, end)),
            ROLES[5]: [end] if end > self.last else [],
        }


@dataclass(frozen=True)
class Restore:
    """An intervention: clean outputs of one kind restored at `layers`, at one token; modules severed above."""

    kind: StateKind
    layers: range
    token: int
    sever: StateKind | None = None


class Interventions:
    """All interventions on one fact."""

    def __init__(self, model: Any, parts: Parts, fact: KnownFact, noise: Tensor, window: int) -> None:
        self.model, self.parts, self.fact, self.window = model, parts, fact, window
        self.noise = noise.to(input_device(model), model.dtype)
        self.modules: dict[StateKind, list[nn.Module]] = {
            "state": list(parts.blocks),
            "mlp": [
                parts.writer(layer) for layer in range(len(parts.blocks))
            ],  # raises where a layer has none
            "attention": [attention_of(block) for block in parts.blocks],
        }
        self.clean_values, (self.clean,) = self._observe(None)
        self.corrupted_values, corrupted = self._observe(self.noise)
        self.corrupted = sum(corrupted) / len(corrupted)

    def effects(self, kind: StateKind) -> dict[tuple[int, int], float]:
        """(layer, token) → P[o] recovered by restoring the clean output (a window of them) there."""
        depth = len(self.parts.blocks)
        half = 0 if kind == "state" else self.window // 2
        plans = {
            (layer, token): Restore(kind, range(max(0, layer - half), min(depth, layer + half + 1)), token)
            for layer in range(depth)
            for tokens in self.fact.roles().values()
            for token in tokens
        }
        return dict(zip(plans, self._recovered(list(plans.values())), strict=True))

    def severed(self, what: StateKind | None) -> list[float]:
        """By layer, P[o] recovered by restoring the state at the subject's last token with `what` severed."""
        layers = range(len(self.parts.blocks))
        return self._recovered(
            [Restore("state", range(layer, layer + 1), self.fact.last, what) for layer in layers]
        )

    def _observe(self, noise: Tensor | None) -> tuple[dict[StateKind, list[Tensor]], list[float]]:
        """Outputs (rows, tokens, d) of every module, and P[o] of every row, in one run."""
        seen: dict[StateKind, list[Tensor]] = {"state": [], "mlp": [], "attention": []}
        rows = 1 if noise is None else len(noise)
        with ExitStack() as stack:
            for kind, modules in self.modules.items():
                for module in modules:
                    stack.enter_context(on_output(module, seen[kind].append))
            probabilities = self._probabilities(rows, noise)
        return seen, probabilities

    def _recovered(self, plans: Sequence[Restore]) -> list[float]:
        """Mean P[o] over noise samples under each plan, less that of the corrupted run."""
        samples = len(self.noise)
        step = max(1, _ROWS_TOKENS // (samples * len(self.fact.ids)))
        found: list[float] = []
        for start in range(0, len(plans), step):
            chunk = plans[start : start + step]
            with ExitStack() as stack:
                for hook in self._hooks(chunk):
                    stack.enter_context(hook)
                rows = self._probabilities(samples * len(chunk), self.noise.repeat(len(chunk), 1, 1))
            for index in range(len(chunk)):
                own = rows[index * samples : (index + 1) * samples]
                found.append(sum(own) / samples - self.corrupted)
        return found

    def _hooks(self, plans: Sequence[Restore]) -> Iterator[Any]:
        """One hook per module that any of the plans touches; plan n has rows n·samples … (n+1)·samples."""
        for kind, modules in self.modules.items():
            for layer, module in enumerate(modules):
                changes = []
                for index, plan in enumerate(plans):
                    if plan.kind == kind and layer in plan.layers:
                        changes.append((index, plan.token, self.clean_values[kind][layer][0, plan.token]))
                    elif plan.sever == kind and layer > plan.layers[-1]:
                        changes.append((index, plan.token, self.corrupted_values[kind][layer][:, plan.token]))
                if changes:
                    yield on_output(module, _Put(changes, len(self.noise)))

    def _probabilities(self, rows: int, noise: Tensor | None) -> list[float]:
        """P[o] (all its tokens) of `rows` copies of the fact, with the hooks that are currently registered."""
        fact = self.fact

        def corrupt(embedded: Tensor) -> Tensor | None:
            if noise is None:
                return None
            changed = embedded.clone()
            changed[:, fact.first : fact.last + 1] += noise
            return changed

        with on_output(self.model.get_input_embeddings(), corrupt):
            read = target_logits(self.model, [fact.ids] * rows, [fact.prompt] * rows)
            logits = torch.stack(list(read)).float()  # (rows, target tokens, V)
        target = torch.tensor(fact.ids[fact.prompt :], device=logits.device)
        wanted = target.expand(rows, -1)[..., None]
        logprobs = logits.log_softmax(-1).gather(-1, wanted)[..., 0]
        probabilities: list[float] = logprobs.double().sum(-1).exp().tolist()
        return probabilities


@dataclass(frozen=True)
class _Put:
    """Writes values into a module's output: for plan `index`, at one token, (d,) or one (samples, d)."""

    changes: list[tuple[int, int, Tensor]]
    samples: int

    def __call__(self, output: Tensor) -> Tensor:
        changed = output.clone()
        for index, token, value in self.changes:
            changed[index * self.samples : (index + 1) * self.samples, token] = value
        return changed


def attention_of(block: nn.Module) -> nn.Module:
    """The attention module of a block, recognised by its name; raises ArchitectureError."""
    for name, child in block.named_children():
        if ("attn" in name and "norm" not in name) or name in ("attention", "self_attention"):
            return child
    children = ", ".join(name for name, _ in block.named_children())
    raise ArchitectureError(f"no attention among the parts of a block ({children}): it cannot be traced")
