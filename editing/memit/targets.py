"""Targets (16): δ_i that makes the model predict o_i, optimised for many key groups at once.

δ enters at layer L at the subject's last token, so everything before that token, at any layer, and
everything up to layer L is constant (`target_batches.py`); each step runs only the remaining tokens
through the layers above L, forward and backward, with logits only where they are read.
Groups are independent: each has its own optimiser state (`adam.py`, `lbfgs.py`), clamp and stopping point, so
batching changes only the last bits of losses and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache

from editing.errors import NumericalError
from editing.memit.adam import Adam
from editing.memit.cost import step_tokens
from editing.memit.deltas import Delta
from editing.memit.groups import Group
from editing.memit.lbfgs import Lbfgs
from editing.memit.target_batches import Bucket, buckets, collect
from editing.model.architectures import Parts
from editing.model.caching import FixedLayer, attending_to
from editing.model.devices import device_of, picked
from editing.model.hooks import injected, on_input, only_at, returns_tuple, starting_with
from editing.progress import Progress, silent
from editing.settings import EditSettings

Done = Callable[[Group, Delta], None]
Lost = Callable[[Group, NumericalError], None]
"""Called with a group whose loss is not finite; the others of its batch continue without it."""


class UpdateRule(Protocol):
    """An update rule: how δs follow from losses and gradients; all state is per group."""

    def evaluations(self, steps: int) -> int:
        """How many losses are evaluated for `steps` steps."""

    def accepts_failure(self) -> bool:
        """Whether the optimisation of a group continues after a loss that is not finite."""

    def update(self, delta: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """The next δ [G, d], from the loss and gradient of `delta`."""

    def result(self, delta: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """(δ [G, d], its loss [G]) at the end; `delta` is the last δ proposed and `loss` the last loss evaluated."""

    def keep(self, kept: Tensor) -> None:
        """Keep only the groups `kept`."""


RULES: dict[str, type[Adam] | type[Lbfgs]] = {"adam": Adam, "lbfgs": Lbfgs}
"""`[edit] optimiser` → the rule."""


class Optimisation:
    """Optimises the δs of a batch of key groups, step by step."""

    def __init__(
        self,
        model: Any,
        parts: Parts,
        groups: Sequence[Group],
        settings: EditSettings,
        layer: int,
        tokens: int | None = None,
    ) -> None:
        """`tokens` are run at a time: enough to keep the device busy, and few enough that a step stays small."""
        self.model, self.parts, self.settings, self.layer = model, parts, settings, layer
        self.groups = list(groups)
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.tuples = returns_tuple(model, parts.blocks[layer])
        self.size = tokens or step_tokens(model, parts, layer)
        contexts = max((len(group.contexts) for group in self.groups), default=1)
        self.bare_steps = settings.bare_steps if contexts > 1 else 0
        self.nll_weight = float(contexts) if self.bare_steps else 1.0
        """Makes the terms of the bare prompts weigh as much as those of all contexts, as long as they are alone."""
        self.buckets = self._collected(prefixed=False if self.bare_steps else None)
        self.norm = self._norms()
        self.delta = torch.zeros(len(self.groups), parts.width, dtype=self.dtype, device=self.norm.device)
        self.rule: UpdateRule = RULES[settings.optimiser](self.norm, parts.width, settings)
        self.loss = torch.full_like(self.norm, torch.inf)
        self.updates = 0

    def _collected(self, *, prefixed: bool | None) -> list[Bucket]:
        """The buckets of the rows with a context prefix, of those without one, or of all."""
        found = buckets(self.groups, self.size, prefixed=prefixed)
        return [collect(self.model, self.parts, rows, self.layer, self.dtype) for rows in found]

    def _norms(self) -> Tensor:
        """‖h‖ at layer L at the subject's last token, [G]."""
        device = device_of(self.parts.blocks[self.layer])
        norm = torch.zeros(len(self.groups), dtype=self.dtype, device=device)
        for bucket in self.buckets:
            bare = bucket.bare.nonzero()[:, 0]
            norm[bucket.group[bare]] = bucket.hidden[bare, 0].to(self.dtype).norm(dim=1)
        return norm

    def run(self, done: Done, lost: Lost | None = None, progress: Progress = silent) -> None:
        """All steps, as the optimiser counts them.

        `progress` counts groups, those in progress by the share of their steps that is done.  An exception raised by
        it ends the run; δs already passed to `done` are kept.  Without `lost`, a group whose loss is not finite
        raises NumericalError.
        """
        updates, total = self.rule.evaluations(self.settings.steps), len(self.groups)

        def advanced() -> None:
            working = len(self.groups)
            progress("targets", total - working + int(working * self.updates / updates), total)

        if self.bare_steps:
            self._begin_bare(lost, advanced)
            if not self.groups:
                return
        for _ in range(updates - self.bare_steps):
            gradient = self._finite_gradient(lost)
            stayed = self.leave(self.loss < self.settings.stop_loss, done)
            if not self.groups:
                return
            self.update(gradient[stayed])
            advanced()
        self.delta, self.loss = self.rule.result(self.delta, self.loss)
        self._lose(self.delta, lost)
        self.leave(torch.ones_like(self.loss, dtype=torch.bool), done)

    def _begin_bare(self, lost: Lost | None, advanced: Callable[[], None]) -> None:
        """`bare_steps` evaluations without context prefixes; those of all terms begin at the best δ of each group.

        A group whose loss falls below `stop_loss` keeps its δ until then, whatever its batch mates do.
        """
        assert isinstance(self.rule, Lbfgs)  # `EditSettings.flaw`
        waiting = torch.zeros_like(self.norm, dtype=torch.bool)
        for _ in range(self.bare_steps):
            gradient = self._finite_gradient(lost)
            if not self.groups:
                return
            # Groups are lost in the first evaluation only, when none waits yet.
            waiting = waiting[: len(self.groups)] | (self.loss < self.settings.stop_loss)
            evaluated = self.delta
            self.update(gradient)
            self.delta = torch.where(waiting[:, None], evaluated, self.delta)
            advanced()
            if bool(waiting.all()):
                break
        self.delta = self.rule.restart()
        self.nll_weight = 1.0
        self.buckets += self._collected(prefixed=True)

    def _finite_gradient(self, lost: Lost | None) -> Tensor:
        """`gradient()` of the groups that remain, [G, d]."""
        gradient = self.gradient()
        if self.rule.accepts_failure():
            return gradient
        return gradient[self._lose(torch.cat([gradient, self.loss[:, None]], dim=1), lost)]

    def _lose(self, values: Tensor, lost: Lost | None) -> Tensor:
        """Drop groups whose row of `values` is not finite; returns the indices of those that remain."""
        finite = torch.isfinite(values).all(dim=1)
        stayed = finite.nonzero()[:, 0]
        for index in (~finite).nonzero()[:, 0].tolist():
            group = self.groups[index]
            error = NumericalError(
                f"the loss of {[request.id for request in group.requests]} is not finite after "
                f"{self.updates} updates: lower lr ({self.settings.lr}) or load the model in fp32"
            )
            if lost is None:
                raise error
            lost(group, error)
        if len(stayed) < len(self.groups):
            self._keep(stayed)
        return stayed

    def gradient(self) -> Tensor:
        """d loss / d δ, [G, d]; the groups' losses are stored in `self.loss`."""
        delta = self.delta.detach().requires_grad_(True)
        with torch.enable_grad():
            decay = self.settings.weight_decay * delta.norm(dim=1) / self.norm**2
            (gradient,) = torch.autograd.grad(decay.sum(), delta)
            loss = decay.detach()
            for bucket in self.buckets:
                part = self.terms(bucket, delta)
                gradient += torch.autograd.grad(part.sum(), delta)[0]
                loss += part.detach()
        self.loss = loss
        return gradient

    def terms(self, bucket: Bucket, delta: Tensor) -> Tensor:
        """What a bucket's rows add to the loss of each group, [G]: weighted NLL, and kl · KL(new ‖ old)."""
        logp = self.logits(bucket, delta).to(self.dtype).log_softmax(-1)
        told, kept, label = (of.to(logp.device) for of in (bucket.told, bucket.kept, bucket.label))
        terms = logp.new_zeros(len(logp))
        terms[told] = -self.nll_weight * logp[told, label[told]]
        if len(kept):
            new = logp[kept]
            if bucket.unedited is None:
                bucket.unedited = new.detach()
            terms[kept] = self.settings.kl * (new.exp() * (new - bucket.unedited)).sum(-1)
        weighted = (terms * bucket.weight.to(terms.device)).to(delta.device)
        return delta.new_zeros(len(delta)).index_add(0, picked(bucket.group, bucket.row), weighted)

    def logits(self, bucket: Bucket, delta: Tensor) -> Tensor:
        """Logits where the bucket reads them, [n, V], with δ added at the subject's last token."""
        if bucket.subject is not None:
            return self._logits_of_whole(bucket, bucket.subject, delta)
        first = bucket.hidden[:, :1] + delta[bucket.group, None]
        hidden = torch.cat([first.to(bucket.hidden.dtype), bucket.hidden[:, 1:]], dim=1)
        shared = bucket.shared[0][0].shape[2]
        length = shared + bucket.past_mask.shape[1]
        below = [FixedLayer(length) for _ in range(self.layer + 1)]
        above = [FixedLayer(length, *pair) for pair in zip(bucket.shared, bucket.past, strict=True)]
        blocks = self.parts.blocks[: self.layer + 1]

        def gather(final: Tensor) -> Tensor:
            return final[bucket.row.to(final.device), bucket.position.to(final.device)][None]

        ones = torch.ones_like(bucket.ids[:, :1])
        with ExitStack() as stack:
            stack.enter_context(starting_with(hidden, blocks, tuples=self.tuples))
            stack.enter_context(on_input(self.parts.head, gather))
            last = self.parts.mlp(len(self.parts.blocks) - 1)
            if last is not None:  # what the last MLP adds to tokens that are not read reaches nothing
                stack.enter_context(only_at(last, bucket.row, bucket.position))
            output = self.model(
                input_ids=bucket.ids,
                attention_mask=torch.cat(
                    [ones.expand(-1, shared), bucket.past_mask, torch.ones_like(bucket.ids)], 1
                ),
                position_ids=bucket.positions,
                **attending_to(self.model, Cache(layers=[*below, *above])),
            )
        logits: Tensor = output.logits[0]
        return logits

    def _logits_of_whole(self, bucket: Bucket, subject: Tensor, delta: Tensor) -> Tensor:
        """The same for rows that are run from their first token."""
        rows = torch.arange(len(bucket.ids), device=delta.device)
        block = self.parts.blocks[self.layer]

        def gather(final: Tensor) -> Tensor:
            return final[bucket.row.to(final.device), bucket.position.to(final.device)][None]

        with injected(block, rows, subject, delta[bucket.group]), on_input(self.parts.head, gather):
            logits: Tensor = self.model(input_ids=bucket.ids, use_cache=False).logits[0]
        return logits

    def update(self, gradient: Tensor) -> None:
        """Update every group's δ from its gradient and the loss stored by `gradient()`."""
        self.updates += 1
        self.delta = self.rule.update(self.delta, self.loss, gradient)

    def leave(self, finished: Tensor, done: Done) -> Tensor:
        """Pass finished groups to `done` and drop them; returns the indices of those that remain."""
        stayed = (~finished).nonzero()[:, 0]
        if len(stayed) == len(self.groups):
            return stayed
        values, norms, losses = self.delta.cpu(), self.norm.tolist(), self.loss.tolist()
        for index in finished.nonzero()[:, 0].tolist():
            delta = Delta(values[index].clone(), norms[index], losses[index], self.updates)
            done(self.groups[index], delta)
        self._keep(stayed)
        return stayed

    def _keep(self, kept: Tensor) -> None:
        staying = torch.zeros_like(self.norm, dtype=torch.bool)
        staying[kept] = True
        renumbered = torch.full_like(staying, -1, dtype=torch.long)
        renumbered[kept] = torch.arange(len(kept), device=kept.device)
        smaller = [bucket.select(staying, renumbered) for bucket in self.buckets]
        self.buckets = [bucket for bucket in smaller if len(bucket.ids)]
        self.groups = [self.groups[index] for index in kept.tolist()]
        self.norm, self.loss, self.delta = self.norm[kept], self.loss[kept], self.delta[kept]
        self.rule.keep(kept)
