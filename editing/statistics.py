"""Second moments of the keys over ordinary text: C0 / λ of Eqn. 15, uncentred, cached under its content.

Far fewer samples than the customary 100,000 suffice (FastMEMIT, arXiv 2506.04226).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from editing.architectures import Parts
from editing.corpus import draw
from editing.durable import write_file
from editing.errors import DataError
from editing.hooks import on_input
from editing.memory import free_bytes, in_batches
from editing.passes import padded
from editing.progress import Progress, silent
from editing.settings import EditSettings
from editing.tokens import tokenizer_digest


def second_moments(
    model: Any,
    tokenizer: Any,
    parts: Parts,
    layers: Sequence[int],
    settings: EditSettings,
    *,
    corpus: Sequence[Path],
    base_digest: str,
    cache: Path,
    progress: Progress = silent,
) -> Callable[[int], Tensor]:
    """E[k kᵀ] of each of `layers`, [d_k, d_k] in fp32 or better, as a function that loads one at a time.

    Computed for the layers that `cache` does not hold yet, in one pass over a seeded sample of
    `corpus`.  Raises DataError for a corpus without text.
    """
    texts = draw(corpus, settings.statistics_samples, settings.seed)
    if not texts:
        raise DataError(f"no text in {', '.join(map(str, corpus)) or 'an empty corpus'}: name files with text")
    limit = min(settings.statistics_tokens, _window(model))
    identity = [base_digest, tokenizer_digest(tokenizer), str(limit), str(model.dtype), *texts]
    content = hashlib.sha256("\x00".join(identity).encode()).hexdigest()

    def path(layer: int) -> Path:
        return cache / "stats" / f"{content[:40]}-{layer}.safetensors"

    missing = [layer for layer in layers if not path(layer).exists()]
    if missing:
        rows = [tuple(ids[:limit]) for ids in tokenizer(list(texts))["input_ids"] if ids]
        sums, tokens = accumulate(model, parts, missing, rows, progress)
        (cache / "stats").mkdir(parents=True, exist_ok=True)
        for layer in missing:
            moment = (sums[layer] / tokens).cpu()
            write_file(path(layer), save({"moment": moment}, {"tokens": str(tokens)}))
    return lambda layer: load_file(path(layer))["moment"]


def _window(model: Any) -> int:
    """The longest text the model can read."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)


@torch.no_grad()
def accumulate(
    model: Any,
    parts: Parts,
    layers: Sequence[int],
    rows: Sequence[tuple[int, ...]],
    progress: Progress = silent,
) -> tuple[dict[int, Tensor], int]:
    """Σ k kᵀ of each layer over all tokens of `rows`, and how many tokens that were."""
    dtype = torch.promote_types(model.dtype, torch.float32)
    sums: dict[int, Tensor] = {}
    ordered = sorted(rows, key=lambda row: (len(row), row))
    read = 0

    def add(layer: int, keys: Tensor, mask: Tensor) -> None:
        kept = keys.reshape(-1, keys.shape[-1])[mask.reshape(-1).bool()].to(dtype)
        if layer not in sums:
            sums[layer] = kept.new_zeros(kept.shape[1], kept.shape[1])
        sums[layer].addmm_(kept.T, kept)

    def run(batch: Sequence[tuple[int, ...]]) -> None:
        nonlocal read
        ids, mask = padded(batch, model.device)
        seen: dict[int, Tensor] = {}
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(on_input(parts.writer(layer), _keep(seen, layer)))
            model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        for layer in layers:  # only now: a batch that ran out of memory has added nothing
            add(layer, seen[layer], mask)
        read += len(batch)
        progress("statistics", read, len(ordered))

    widest = max(parts.key_width(layer) for layer in layers)
    per_token = (24 * parts.width + (4 + len(layers)) * widest) * model.dtype.itemsize
    budget = min(free_bytes(model.device), 4096 * per_token if model.device.type == "cpu" else 1 << 62)
    in_batches(ordered, lambda row: len(row) * per_token, budget, run)
    return sums, sum(map(len, ordered))


def _keep(seen: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
    def see(keys: Tensor) -> None:
        seen[layer] = keys

    return see
