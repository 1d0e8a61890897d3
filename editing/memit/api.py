"""MEMIT in three lines, for a notebook.

    from editing import EditRequest, edit
    edited = edit(model, tokenizer, [EditRequest("1", "The capital of {} is", "France", "Rome")], corpus=["text.txt"])
    edited.undo()

The daemon uses `editing.build` instead, which leaves the model as it was.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.memit.build import Built, apply, build
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings


@dataclass
class Edited:
    """A model that has been edited in place, and the way back."""

    model: Any
    built: Built
    before: dict[str, Tensor]
    """The changed parameters as they were."""

    @torch.no_grad()
    def undo(self) -> None:
        """Put the old weights back."""
        own = dict(self.model.named_parameters())
        for name, tensor in self.before.items():
            own[name].copy_(tensor)


def edit(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings | None = None,
    *,
    corpus: Sequence[str | Path],
    cache: str | Path | None = None,
    kl_prompts: Mapping[str, Sequence[str]] | None = None,
    preserved: Sequence[EditRequest] = (),
    progress: Progress = silent,
) -> Edited:
    """Edit `model` in place with all `requests` at once.

    `corpus` are the text files the keys' statistics are computed from.  With a `cache` directory,
    statistics and δs are kept there and reused for this very model (its weights are digested).
    Raises what `build` raises; the model is then unchanged.
    """
    files = [Path(file) for file in corpus]
    chosen = settings or EditSettings()
    with tempfile.TemporaryDirectory() as scratch:
        built = build(
            model,
            tokenizer,
            requests,
            chosen,
            cache=Path(cache or scratch),
            base_digest=weights_digest(model) if cache else "",
            corpus=files,
            kl_prompts=kl_prompts,
            preserved=preserved,
            progress=progress,
        )
    own = dict(model.named_parameters())
    before = {name: own[name].detach().clone() for name in built.tensors}
    apply(model, built)
    return Edited(model, built, before)


def weights_digest(model: Any) -> str:
    """SHA-256 over the model's configuration and all its tensors, names and dtypes included."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
