"""Editing a loaded model in place, and undoing it.

`editing.edit` (`editing/notebook.py`) is the public function.  The daemon calls the editor itself
(`editing.editors`), which leaves the model unchanged.
"""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from editing.editors.contract import BuildInputs, EditResult
from editing.editors.registry import editor_named
from editing.model.weights import copies_of, parameter_named, refuse_unwritable, unwrapped, write_weights
from editing.progress import Progress, silent


@dataclass(eq=False)
class Edited:
    """A model that was edited in place, and how to undo the edit."""

    model: Any
    result: EditResult
    before: dict[str, Tensor]
    """The changed parameters as they would be without this edit."""
    _after: dict[str, Tensor] = field(repr=False)
    """The changed parameters with this edit, and without later ones."""
    report: object = None
    """Which facts took (`editing.notebook.EditReport`), if `editing.edit` made the edit."""

    def __repr__(self) -> str:
        kind = type(unwrapped(self.model)).__name__
        layers = ", ".join(map(str, self.result.layers))
        first = (
            str(self.report).partition("\n")[0] if self.report is not None else "not asked which facts took"
        )
        return f"<Edited {kind}, layers {layers}: {first}>"

    def undo(self) -> None:
        """Undo this edit; a second call does nothing.

        Edits of one model may be undone in any order.  Later edits stay in place, and so does what anything else
        has changed in these weights since: the change is transferred to the weights without this edit.  Once all
        edits are undone and nothing else has changed, the weights are bit for bit those before the first edit.
        """
        edits = _edits_of(self.model)
        if self not in edits:
            return
        plain = unwrapped(self.model)
        weights = {name: _carried(parameter_named(plain, name), self, name) for name in self.before}
        for later in edits[edits.index(self) + 1 :]:
            for name in self.before.keys() & later.before.keys():
                later.before[name] = _carried(later.before[name], self, name)
                later._after[name] = _carried(later._after[name], self, name)
        write_weights(plain, weights)
        _EDITS[plain] = [weakref.ref(edit) for edit in edits if edit is not self]


_EDITS: weakref.WeakKeyDictionary[Any, list[weakref.ref[Edited]]] = weakref.WeakKeyDictionary()
"""Model → the edits in its weights that can still be undone (a reference to them exists), oldest first."""


def _edits_of(model: Any) -> list[Edited]:
    found = (reference() for reference in _EDITS.get(unwrapped(model), ()))
    return [edit for edit in found if edit is not None]


@torch.no_grad()
def _carried(weight: Tensor, gone: Edited, name: str) -> Tensor:
    """`weight`, which was computed from the weight that `gone` wrote, as if computed from the one before `gone`."""
    after, before = (kept[name].to(weight.device) for kept in (gone._after, gone.before))
    if torch.equal(weight, after.to(weight.dtype)):
        return before.to(weight.dtype)
    return (weight.double() - after.double() + before.double()).to(weight.dtype)


def edit_in_place(model: Any, tokenizer: Any, inputs: BuildInputs, *, progress: Progress = silent) -> Edited:
    """Edit `model` in place with all requests of `inputs` at once.

    A compiled model is edited through the module it was compiled from, and may be compiled again.  Raises
    ModelError for a model with an adapter or with parameters that cannot be changed, and the errors of the
    editor; the model is then unchanged.
    """
    plain = unwrapped(model)
    refuse_unwritable(plain)
    editor = editor_named(inputs.settings.editor)
    result = editor.edit(plain, tokenizer, editor.arranged(inputs), progress=progress)
    edited = Edited(model, result, copies_of(plain, result.tensors.keys()), dict(result.tensors))
    write_weights(plain, result.tensors)
    _EDITS[plain] = [weakref.ref(edit) for edit in (*_edits_of(plain), edited)]
    return edited


def weights_digest(model: Any) -> str:
    """SHA-256 over the model's configuration and all its tensors, names and dtypes included."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
