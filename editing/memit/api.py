"""MEMIT in three lines, for a notebook.

    from editing import EditRequest, edit
    edited = edit(model, tokenizer, [EditRequest("1", "The capital of {} is", "France", "Rome")], corpus=["text.txt"])
    edited.undo()

The daemon calls the editor itself (`editing.editors`), which leaves the model as it was.
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

from editing.editors.contract import BuildInputs, EditResult
from editing.editors.registry import editor_named
from editing.model.weights import copies_of, write_weights
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings


@dataclass
class Edited:
    """A model that has been edited in place, and the way back."""

    model: Any
    result: EditResult
    before: dict[str, Tensor]
    """The changed parameters as they were."""

    def undo(self) -> None:
        """Put the old weights back."""
        write_weights(self.model, self.before)


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
    Raises what the editor raises; the model is then unchanged.
    """
    chosen = settings or EditSettings()
    editor = editor_named(chosen.editor)
    with tempfile.TemporaryDirectory() as scratch:
        inputs = BuildInputs(
            requests=requests,
            settings=chosen,
            cache=Path(cache or scratch),
            base_digest=weights_digest(model) if cache else "",
            corpus=[Path(file) for file in corpus],
            kl_prompts=kl_prompts or {},
            preserved=preserved,
        )
        result = editor.edit(model, tokenizer, editor.arranged(inputs), progress=progress)
    before = copies_of(model, result.tensors.keys())
    write_weights(model, result.tensors)
    return Edited(model, result, before)


def weights_digest(model: Any) -> str:
    """SHA-256 over the model's configuration and all its tensors, names and dtypes included."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
