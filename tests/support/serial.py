"""MEMIT read plainly from the paper: one edit at a time, whole sequences, dense solve.

The reference the engine is held against.  Nothing is batched, padded, cached or cut short here, and
nothing of the engine's own machinery is used: only which modules hold the blocks and W_out is given.
Token positions are found on their own, text by text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Fact:
    """`before` + subject + `after` is the prompt; `target` follows it after a space."""

    before: str
    subject: str
    after: str
    target: str


@dataclass(frozen=True)
class Hyper:
    steps: int
    lr: float
    clamp: float
    kl: float
    weight_decay: float
    lam: float


def tokens(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """(ids, character spans), without the EOS some tokenizers append: the text goes on."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    return (ids[:-1], offsets[:-1]) if ids[-1] == tokenizer.eos_token_id else (ids, offsets)


def subject_position(offsets: list[tuple[int, int]], end: int) -> int:
    """The last token over the character before `end`."""
    return max(i for i, (a, b) in enumerate(offsets) if a < end <= b)


class Serial:
    """MEMIT on one model."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        blocks: Sequence[nn.Module],
        writers: Sequence[Any],
        norms: Any,
        gains: Sequence[float] | None = None,
    ) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.blocks, self.writers, self.norms = blocks, writers, norms
        self.gains = gains or [1.0] * len(blocks)

    # Targets (16)

    def texts(self, fact: Fact, prefixes: Sequence[str]) -> list[tuple[list[int], int, list[int]]]:
        """(whole text's ids, subject's last token, the target's tokens) in each context."""
        found = []
        for prefix in ("", *prefixes):
            lead = f"{prefix}. " if prefix else ""
            prompt = lead + fact.before + fact.subject + fact.after
            ids, offsets = tokens(self.tokenizer, f"{prompt} {fact.target}")
            at = subject_position(offsets, len(lead) + len(fact.before) + len(fact.subject))
            first = next(i for i, (_, b) in enumerate(offsets) if b > len(prompt))
            found.append((ids[:first], at, ids[first:]))
        return found

    def state(self, ids: Sequence[int], position: int, layer: int) -> Tensor:
        """h^layer at `position`."""
        with watched(self.blocks[layer]) as seen, torch.no_grad():
            self.model(torch.tensor([ids]), use_cache=False)
        return seen["output"][0, position]

    def logits(self, ids: Sequence[int], position: int, layer: int, delta: Tensor) -> Tensor:
        """All logits [T, V] with δ added to h^layer at `position`."""
        with added(self.blocks[layer], position, delta):
            return self.model(torch.tensor([ids]), use_cache=False).logits[0]  # type: ignore[no-any-return]

    def loss(
        self,
        facts: Sequence[Fact],
        kept: Sequence[tuple[str, int, bool]],
        prefixes: Sequence[str],
        hyper: Hyper,
        layer: int,
        delta: Tensor,
        norm: Tensor,
    ) -> Tensor:
        """Mean NLL over facts and contexts + KL of each kept text + weight decay."""
        terms = []
        for fact in facts:
            for prompt, at, target in self.texts(fact, prefixes):
                logits = self.logits(prompt + target, at, layer, delta)
                logp = logits.to(delta.dtype).log_softmax(-1)
                said = [logp[len(prompt) - 1 + i, token] for i, token in enumerate(target)]
                terms.append(-torch.stack(said).mean())
        loss = torch.stack(terms).mean()
        for text, end, at_subject in kept:
            ids, offsets = tokens(self.tokenizer, text)
            at = subject_position(offsets, end)
            read = at if at_subject else len(ids) - 1
            new = self.logits(ids, at, layer, delta)[read].to(delta.dtype).log_softmax(-1)
            old = self.logits(ids, at, layer, torch.zeros_like(delta))[read].to(delta.dtype).log_softmax(-1)
            loss = loss + hyper.kl * (new.exp() * (new - old.detach())).sum()
        return loss + hyper.weight_decay * delta.norm() / norm**2

    def trajectory(
        self,
        facts: Sequence[Fact],
        kept: Sequence[tuple[str, int, bool]],
        prefixes: Sequence[str],
        hyper: Hyper,
        layer: int,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(δ after each update, gradient before each update)."""
        prompt, at, _ = self.texts(facts[0], ())[0]
        dtype = torch.promote_types(self.model.dtype, torch.float32)
        norm = self.state(prompt, at, layer).to(dtype).norm()
        delta = torch.zeros(self.model.config.get_text_config().hidden_size, dtype=dtype, requires_grad=True)
        adam = torch.optim.Adam([delta], lr=hyper.lr)
        deltas, gradients = [], []
        for _ in range(hyper.steps - 1):
            adam.zero_grad()
            self.loss(facts, kept, prefixes, hyper, layer, delta, norm).backward()
            assert delta.grad is not None
            gradients.append(delta.grad.clone())
            adam.step()
            with torch.no_grad():
                if delta.norm() > hyper.clamp * norm:
                    delta *= hyper.clamp * norm / delta.norm()
            deltas.append(delta.detach().clone())
        return deltas, gradients

    # Spread (14, 17–20)

    def key(self, ids: Sequence[int], position: int, layer: int) -> Tensor:
        """k^layer at `position`: the input of W_out."""
        with watched(self.writers[layer]) as seen, torch.no_grad():
            self.model(torch.tensor([ids]), use_cache=False)
        return seen["input"].reshape(len(ids), -1)[position]

    def through_norm(self, ids: Sequence[int], position: int, layer: int, wanted: Tensor) -> Tensor:
        """J⁺ r, J the Jacobian of the norm after W_out at what enters it."""
        wanted = wanted / self.gains[layer]
        if self.norms[layer] is None:
            return wanted
        with watched(self.norms[layer]) as seen, torch.no_grad():
            self.model(torch.tensor([ids]), use_cache=False)
        entering = seen["input"].reshape(len(ids), -1)[position]
        jacobian = torch.autograd.functional.jacobian(self.norms[layer], entering)
        return torch.linalg.pinv(jacobian, rtol=1e-4) @ wanted

    def solved(self, K: Tensor, R: Tensor, moment: Tensor, lam: float, ridge: float) -> Tensor:
        """Δ [d, d_k] (14)."""
        C = lam * moment + K @ K.T
        C = C + ridge * torch.eye(len(C), dtype=torch.float64)
        return torch.linalg.solve(C, K @ R.T).T

    def spread(
        self,
        facts: Sequence[Fact],
        deltas: Sequence[Tensor],
        prefixes: Sequence[str],
        hyper: Hyper,
        layers: Sequence[int],
        moments: Sequence[Tensor],
        ridges: Sequence[float],
        *,
        every_context: bool,
    ) -> list[tuple[Tensor, Tensor]]:
        """Update the writers of `layers` in place; (K [d_k, n], Δ [d, d_k]) of each."""
        top = layers[-1]
        places = [[(prompt, at) for prompt, at, _ in self.texts(fact, prefixes)] for fact in facts]
        before = [[self.state(prompt, at, top) for prompt, at in contexts] for contexts in places]
        weights = [0.5] + [0.5 / len(prefixes)] * len(prefixes) if prefixes else [1.0]
        updates = []
        for step, layer in enumerate(layers):
            keys, residuals = [], []
            for contexts, delta, unedited in zip(places, deltas, before, strict=True):
                k = [self.key(prompt, at, layer) for prompt, at in contexts]
                r = [
                    self.through_norm(
                        prompt,
                        at,
                        layer,
                        (delta - (self.state(prompt, at, top) - was)) / (len(layers) - step),
                    )
                    for (prompt, at), was in zip(contexts, unedited, strict=True)
                ]
                if every_context:
                    keys += [w**0.5 * each for w, each in zip(weights, k, strict=True)]
                    residuals += [w**0.5 * each for w, each in zip(weights, r, strict=True)]
                else:
                    keys.append(torch.stack([w * each for w, each in zip(weights, k, strict=True)]).sum(0))
                    residuals.append(r[0])
            K, R = torch.stack(keys, 1).double(), torch.stack(residuals, 1).double()
            update = self.solved(K, R, moments[step].double(), hyper.lam, ridges[step])
            weight: Any = self.writers[layer].weight
            weight.data += (update if weight.shape == update.shape else update.T).to(weight.dtype)
            updates.append((K, update))
        return updates


@contextmanager
def watched(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def hook(_: nn.Module, args: Any, output: Any) -> None:
        seen["input"] = args[0].detach()
        seen["output"] = (output[0] if isinstance(output, tuple | list) else output).detach()

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def added(block: nn.Module, position: int, delta: Tensor) -> Iterator[None]:
    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple | list) else output
        here = torch.arange(hidden.shape[1])[:, None] == position
        hidden = (hidden + here * delta).to(hidden.dtype)
        return type(output)([hidden, *output[1:]]) if isinstance(output, tuple | list) else hidden

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
