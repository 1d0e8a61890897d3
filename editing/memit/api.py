"""MEMIT in three lines, for a notebook.

    from editing import EditRequest, edit
    edited = edit(model, tokenizer, [EditRequest("1", "The capital of {} is", "France", "Rome")], corpus=["text.txt"])
    edited.undo()

The daemon calls the editor itself (`editing.editors`), which leaves the model as it was.
"""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.editors.contract import BuildInputs, EditResult
from editing.editors.registry import editor_named
from editing.model.weights import copies_of, parameter_named, refuse_offloaded, unwrapped, write_weights
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings


@dataclass(eq=False)
class Edited:
    """A model that has been edited in place, and the way back."""

    model: Any
    result: EditResult
    before: dict[str, Tensor]
    """The changed parameters as they would be without this edit."""
    _after: dict[str, Tensor] = field(repr=False)
    """The same with it, and without later ones."""
    report: object = None
    """Which facts took (`editing.notebook.EditReport`), where `editing.edit` made the edit."""

    def __repr__(self) -> str:
        kind = type(unwrapped(self.model)).__name__
        layers = ", ".join(map(str, self.result.layers))
        first = (
            str(self.report).partition("\n")[0] if self.report is not None else "not asked which facts took"
        )
        return f"<Edited {kind}, layers {layers}: {first}>"

    def undo(self) -> None:
        """Take this edit back; a second call does nothing.

        Edits of one model may be undone in any order.  Later ones stay in place: what they changed is
        carried over to the weights without this one.  Once all are undone, the weights are bit for bit those
        before the first.
        """
        edits = _standing(self.model)
        if self not in edits:
            return
        later = edits[edits.index(self) + 1 :]
        weights = {}
        for name, before in self.before.items():
            stacked = [edit for edit in later if name in edit.before]
            if stacked:
                weights[name] = _carried(parameter_named(unwrapped(self.model), name), self, name)
                for edit in stacked[1:]:
                    edit.before[name] = _carried(edit.before[name], self, name)
                stacked[0].before[name] = before
                for edit in stacked:
                    edit._after[name] = _carried(edit._after[name], self, name)
            else:
                weights[name] = before
        write_weights(unwrapped(self.model), weights)
        _EDITS[unwrapped(self.model)] = [weakref.ref(edit) for edit in edits if edit is not self]


_EDITS: weakref.WeakKeyDictionary[Any, list[weakref.ref[Edited]]] = weakref.WeakKeyDictionary()
"""Model → its edits that stand, the oldest first.  One that nobody can undo any more is part of the weights."""


def _standing(model: Any) -> list[Edited]:
    found = (reference() for reference in _EDITS.get(unwrapped(model), ()))
    return [edit for edit in found if edit is not None]


@torch.no_grad()
def _carried(weight: Tensor, gone: Edited, name: str) -> Tensor:
    """`weight`, which was made from what `gone` wrote, as made from what was there before."""
    return (weight.double() - gone._after[name].double() + gone.before[name].double()).to(weight.dtype)


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
    A model that is compiled is edited as it was written, and may be compiled again.  Raises ModelError for one
    with an adapter or with parameters that are not in memory, and what the editor raises; the model is then
    unchanged.
    """
    plain, chosen = unwrapped(model), settings or EditSettings()
    refuse_offloaded(plain)
    editor = editor_named(chosen.editor)
    with tempfile.TemporaryDirectory() as scratch:
        inputs = BuildInputs(
            requests=requests,
            settings=chosen,
            cache=Path(cache or scratch),
            base_digest=weights_digest(plain) if cache else "",
            corpus=[Path(file) for file in corpus],
            kl_prompts=kl_prompts or {},
            preserved=preserved,
        )
        result = editor.edit(plain, tokenizer, editor.arranged(inputs), progress=progress)
    edited = Edited(model, result, copies_of(plain, result.tensors.keys()), dict(result.tensors))
    write_weights(plain, result.tensors)
    _EDITS[plain] = [weakref.ref(edit) for edit in (*_standing(plain), edited)]
    return edited


def weights_digest(model: Any) -> str:
    """SHA-256 over the model's configuration and all its tensors, names and dtypes included."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
