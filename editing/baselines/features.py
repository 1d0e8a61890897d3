"""The editing features of a fact: what W_out reads where the target is predicted, and the gradient of what it writes.

One forward and one backward pass a fact give both for all layers (UltraEdit, arXiv 2505.14679).  They depend on the
weights and on the fact's text alone, so they are cached under a content key that covers these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editing.baselines.fine_tuning import target_losses
from editing.baselines.locating import FactText, Place
from editing.editors.contract import BuildInputs, Failed, fail_requests
from editing.errors import NumericalError, OutOfMemory
from editing.memit import tensor_cache
from editing.model.devices import device_of
from editing.model.hooks import on_input, on_output
from editing.model.memory import in_batches
from editing.model.tokens import tokenizer_digest
from editing.progress import Progress, silent

FORMAT = 1
"""Version of stored features; raised when their meaning changes."""
PHASE = "targets"

Feature = dict[int, tuple[Tensor, Tensor]]
"""Layer → (h [t, d_k], ∇y [t, d]) at t positions of a text, in fp32 or better."""


@dataclass(frozen=True)
class FeatureStore:
    """The features of a model's texts, on disk."""

    place: Place
    directory: Path
    identity: str
    """Digest of the weights, the tokenizer and the precision."""
    whole: bool = False
    """Whether all positions of a text are kept, not only those that predict the target."""

    @classmethod
    def of(cls, place: Place, inputs: BuildInputs, *, whole: bool = False) -> FeatureStore:
        parts = (
            inputs.base_digest,
            inputs.edited,
            tokenizer_digest(place.tokenizer),
            str(place.model.dtype),
            str(FORMAT),
            *(("whole",) if whole else ()),
        )
        identity = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return cls(place, inputs.cache / "features", identity, whole)

    def path(self, text: FactText) -> Path:
        """Where the features of `text` are, whether or not they have been computed."""
        content = json.dumps([self.identity, text.ids, text.target, self.place.layers])
        return self.directory / f"{hashlib.sha256(content.encode()).hexdigest()}.safetensors"

    def count(self, text: FactText) -> int:
        """Positions of `text` that have features."""
        return len(text.ids) - (0 if self.whole else text.target)

    def missing(self, texts: Sequence[FactText]) -> list[FactText]:
        """Those of `texts` whose features have not been computed yet."""
        return [text for text in texts if not self.path(text).exists()]

    def load(self, text: FactText) -> Feature | None:
        """The features of `text`; None if they have not been computed, or are damaged."""
        found = tensor_cache.load(self.path(text))
        if found is None:
            return None
        return {
            layer: (found[0][f"h{layer}"].to(device), found[0][f"g{layer}"].to(device))
            for layer in self.place.layers
            for device in (device_of(self.place.parts.blocks[layer]),)
        }

    def read(self, text: FactText) -> Feature:
        """The features of `text`, computed again if they were damaged since `fill`."""
        while (found := self.load(text)) is None:
            self.fill([text], None)
        return found

    def fill(
        self, texts: Sequence[FactText], failed: Failed | None, progress: Progress = silent
    ) -> list[FactText]:
        """Compute what is missing; returns the texts that have features.

        The requests of a text that has none are reported to `failed`: its features are not finite, or it does not fit
        in memory even alone.
        """
        gone: set[FactText] = set()
        missing = [text for text in texts if self.load(text) is None]
        done = 0

        def fail(text: FactText, error: NumericalError | OutOfMemory) -> None:
            fail_requests(failed, text.requests, error)
            gone.add(text)

        def run(some: Sequence[FactText]) -> None:
            nonlocal done
            for text, feature in zip(some, self.compute(some), strict=True):
                if all(bool(torch.isfinite(one).all()) for pair in feature.values() for one in pair):
                    self._store(text, feature)
                else:
                    what = f"the gradients of {list(text.requests)} are not finite: load the model in fp32"
                    fail(text, NumericalError(what))
            done += len(some)
            progress(PHASE, done, len(missing))

        budget = max(1, self.place.free_bytes() // 2)
        ordered = sorted(missing, key=lambda text: len(text.ids))
        in_batches(ordered, self.place.text_bytes, budget, run, too_large=fail)
        return [text for text in texts if text not in gone]

    def compute(self, texts: Sequence[FactText]) -> list[Feature]:
        """The features of a batch of texts, with the current weights."""
        return read_features(self.place, texts, whole=self.whole)

    def _store(self, text: FactText, feature: Feature) -> None:
        tensors = {f"h{layer}": h for layer, (h, _) in feature.items()}
        tensors |= {f"g{layer}": g for layer, (_, g) in feature.items()}
        tensor_cache.store(self.path(text), tensors, {})


def read_features(place: Place, texts: Sequence[FactText], *, whole: bool = False) -> list[Feature]:
    """The features of a batch of texts, with the current weights; `whole`: at all positions."""
    read: dict[int, Tensor] = {}
    written: dict[int, Tensor] = {}
    writers = {layer: place.parts.writer(layer) for layer in place.layers}

    def keep(layer: int) -> Callable[[Tensor], None]:
        def see(states: Tensor) -> None:
            read[layer] = states.detach()

        return see

    def watch(layer: int) -> Callable[[Tensor], Tensor]:
        def see(states: Tensor) -> Tensor:
            written[layer] = states if states.requires_grad else states.requires_grad_(True)
            return written[layer]

        return see

    with ExitStack() as stack:
        for layer, writer in writers.items():
            stack.enter_context(on_input(writer, keep(layer)))
            stack.enter_context(on_output(writer, watch(layer)))
        stack.enter_context(torch.enable_grad())
        # Texts do not read each other, so the gradient of the sum is each text's own.
        loss = target_losses(place, texts).sum()
        gradients = torch.autograd.grad(loss, [written[layer] for layer in place.layers])
    dtype = torch.promote_types(place.model.dtype, torch.float32)
    width = max(len(text.ids) for text in texts)
    found: list[Feature] = []
    for row, text in enumerate(texts):
        at = slice(0 if whole else text.target - 1, len(text.ids) - (0 if whole else 1))
        feature = {
            layer: (
                read[layer].reshape(len(texts), width, -1)[row, at].to(dtype),
                gradient.reshape(len(texts), width, -1)[row, at].to(dtype),
            )
            for layer, gradient in zip(place.layers, gradients, strict=True)
        }
        found.append(feature)
    return found
