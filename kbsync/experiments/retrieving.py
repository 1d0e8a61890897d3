"""Retrieval as a line of the experiments: the model is not edited, and each question has a fact before it."""

from __future__ import annotations

from collections.abc import Callable

from editing.cost import Cost
from editing.editors.contract import BuildInputs, EditResult, Reuse
from editing.editors.registry import editor_named
from editing.evaluation.retrieval import Retrieval

RETRIEVAL = "retrieval"
"""The name, in settings, of answering with retrieved facts."""
Reading = Callable[[str], str]
"""A question → what the model reads."""


def reuse_of(name: str) -> Reuse:
    """The cache contract of an editor; an index takes one more fact without the others.  Raises SpecError."""
    return "fact" if name == RETRIEVAL else editor_named(name).reuse


def indexed(inputs: BuildInputs) -> EditResult:
    """What an edit by retrieval comes to: an index of the facts, and no changed weight."""
    Retrieval(inputs.requests)
    return EditResult(tensors={}, layers=(), cost=Cost())


def reading(inputs: BuildInputs) -> Reading:
    """How questions are read: as they are, or after the fact that fits them best."""
    if inputs.settings.editor != RETRIEVAL:
        return str
    return Retrieval(inputs.requests).with_context
