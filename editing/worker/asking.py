"""Asking a model prompts outside any build: the base, or a checkpoint of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from editing.errors import SpecError
from editing.evaluation.metrics import answers
from editing.model.weights import swapped
from editing.spec import BuildSpec
from editing.storage.checkpoints import read_changed, read_manifest


def answered(model: Any, tokenizer: Any, spec: BuildSpec) -> tuple[str, ...]:
    """The greedy answers to the spec's prompts, of the checkpoint in `live` or, if it names none, of the base.

    `model` has the weights of the base.  Raises SpecError if the checkpoint was built from another base.
    """
    if not spec.prompts:
        return ()
    with swapped(model, _changed(spec)):
        return tuple(answers(model, tokenizer, spec.prompts))


def _changed(spec: BuildSpec) -> Mapping[str, Tensor]:
    if spec.live is None:
        return {}
    if read_manifest(Path(spec.live)).base != spec.base_digest:
        raise SpecError(f"{spec.live} was built from another base than {spec.base}: load it to ask it")
    return read_changed(Path(spec.base), Path(spec.live))
