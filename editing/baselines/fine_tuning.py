"""Fine-tuning of W_out of one layer: what FT-W and LocFT-BF have in common.

Only one matrix is trained, so autograd's graph begins at its layer.  It is trained in fp32 or better, whatever the
model's precision, since small steps are lost in half precision.  The result depends on all facts together, so nothing
is cached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editing.baselines.locating import FactText, Place
from editing.errors import NumericalError, OutOfMemory
from editing.model.devices import input_device
from editing.model.hooks import on_input
from editing.model.memory import in_batches
from editing.model.passes import padded
from editing.model.weights import parameter_named
from editing.progress import Progress, silent

PHASE = "fine_tuning"
"""Name of the phase whose rate builds learn."""


@dataclass(frozen=True)
class TrainingPlan:
    """How the matrix is trained."""

    lr: float
    """Adam's learning rate."""
    epochs: int
    """Passes over all facts."""
    batch: int
    """Facts in a mini-batch."""
    weight_decay: float = 0.0
    """L2 penalty of Adam (not decoupled)."""
    stop_loss: float = 0.0
    """A mini-batch with a smaller loss is skipped, and an epoch with a smaller mean loss is the last."""
    shuffled: bool = False
    """Whether the facts of each epoch are in a new random order."""
    ends: bool = False
    """Whether the target ends with EOS."""


class TooLarge(Exception):
    """A text that does not fit in memory even alone."""

    def __init__(self, text: FactText, error: OutOfMemory) -> None:
        super().__init__(str(error))
        self.text, self.error = text, error


class FineTuning:
    """Trains W_out of one layer on texts."""

    def __init__(self, place: Place, texts: Sequence[FactText], schedule: TrainingPlan, seed: int) -> None:
        self.place, self.texts, self.schedule = place, list(texts), schedule
        self.model = place.model
        self.dtype = torch.promote_types(self.model.dtype, torch.float32)
        self.shuffle = torch.Generator().manual_seed(seed)
        self.last_loss = math.nan

    def run(self, progress: Progress = silent) -> Tensor:
        """The trained matrix, in the model's dtype; the model's own is overwritten.

        Raises NumericalError for a loss that is not finite, and TooLarge.
        """
        weight = parameter_named(self.model, self.place.name)
        master = weight.detach().to(self.dtype).clone().requires_grad_(True)
        adam = torch.optim.Adam(
            [master], lr=self.schedule.lr, weight_decay=self.schedule.weight_decay, foreach=False
        )
        total = self.schedule.epochs * len(self.texts)
        for epoch in range(self.schedule.epochs):
            losses = 0.0
            for start in range(0, len(self.texts), self.schedule.batch):
                batch = [self.texts[i] for i in self._order(start)]
                loss, gradient = self.gradient(weight, batch)
                losses += loss * len(batch)
                if loss >= self.schedule.stop_loss:
                    master.grad = gradient.to(self.dtype)
                    adam.step()
                    with torch.no_grad():
                        weight.copy_(master)
                progress(PHASE, epoch * len(self.texts) + start + len(batch), total)
            self.last_loss = losses / len(self.texts)
            if self.last_loss < self.schedule.stop_loss:
                progress(PHASE, total, total)
                break
        return weight.detach().clone()

    def _order(self, start: int) -> list[int]:
        """Indices of the mini-batch that begins at `start`; each epoch draws an order of its own."""
        if start == 0:
            count = len(self.texts)
            drawn = (
                torch.randperm(count, generator=self.shuffle)
                if self.schedule.shuffled
                else torch.arange(count)
            )
            self._drawn: list[int] = drawn.tolist()
        return self._drawn[start : start + self.schedule.batch]

    def gradient(self, weight: Tensor, batch: Sequence[FactText]) -> tuple[float, Tensor]:
        """(mean loss of `batch`, its gradient for `weight`); the loss of a text is the mean NLL of its target."""
        total = torch.zeros_like(weight, dtype=self.dtype)
        losses: list[Tensor] = []

        def run(some: Sequence[FactText]) -> None:
            with torch.enable_grad():
                weight.requires_grad_(True)
                try:
                    loss = target_losses(self.place, some).sum() / len(batch)
                    (gradient,) = torch.autograd.grad(loss, weight)
                finally:
                    weight.requires_grad_(False)
            total.add_(gradient.to(self.dtype))  # only now: a part that ran out of memory has added nothing
            losses.append(loss.detach())

        def too_large(text: FactText, error: OutOfMemory) -> None:
            raise TooLarge(text, error)

        ordered = sorted(batch, key=lambda text: len(text.ids))
        budget = max(1, self.place.free_bytes() // 2)
        in_batches(ordered, self.place.text_bytes, budget, run, too_large=too_large)
        loss = float(torch.stack(losses).sum())
        if not math.isfinite(loss) or not bool(torch.isfinite(total).all()):
            raise NumericalError(
                f"the loss of the fine-tuning at layer {self.place.layer} is not finite: lower lr "
                f"({self.schedule.lr:g}) in [edit.options], or load the model in fp32"
            )
        return loss, total


def target_losses(place: Place, texts: Sequence[FactText]) -> Tensor:
    """−log P of the target, the mean over its tokens, for each of `texts`: [n], in fp32 or better."""
    ids, _ = padded([text.ids for text in texts], input_device(place.model))
    counts = [len(text.ids) - text.target for text in texts]
    row = torch.tensor([i for i, count in enumerate(counts) for _ in range(count)], device=ids.device)
    position = torch.tensor(
        [at for text in texts for at in range(text.target - 1, len(text.ids) - 1)], device=ids.device
    )

    def gather(final: Tensor) -> Tensor:
        return final[row.to(final.device), position.to(final.device)][None]

    with on_input(place.parts.head, gather):
        logits = place.model(input_ids=ids, use_cache=False).logits[0]
    row, labels = row.to(logits.device), ids[row, position + 1].to(logits.device)
    precise = torch.promote_types(logits.dtype, torch.float32)
    nll = -logits.to(precise).log_softmax(-1).gather(1, labels[:, None])[:, 0]
    summed = nll.new_zeros(len(texts)).index_add(0, row, nll)
    mean: Tensor = summed / torch.tensor(counts, device=logits.device)
    return mean
