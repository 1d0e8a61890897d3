"""`kbsync inspect`: find a model's parts, test them on the model, and estimate an edit's memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.errors import ArchitectureError
from editing.model.directory import ModelDirectory
from kbsync.standalone.target import Chosen

if TYPE_CHECKING:
    from editing.model.architectures import Parts
    from editing.model.self_test import SelfTestResult

EDITS = 100
"""The number of edits for which memory is estimated."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer and its W_out."""

    layer: int
    writer: str | None
    """Name of W_out's weight; None if the layer has none that can be edited."""
    shape: tuple[int, ...]
    """Shape of the weight as it is stored."""
    norm: str | None
    """The norm that is applied to W_out's output, if there is one."""
    edited: bool
    """Whether the layer is edited with the chosen settings."""
    reason: str
    """Why the layer cannot be edited; empty if it can."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that `kbsync inspect` prints."""

    model: str
    family: str
    """`model_type` of its configuration."""
    kind: str
    """Its class in transformers."""
    supported: bool
    reason: str
    """Why the model is not supported; empty if it is."""
    parameters: int
    dtypes: dict[str, int]
    """Stored dtype → number of values."""
    blocks: str
    """Path of the list of blocks."""
    width: int
    head: str
    tied: bool
    """Whether the output embedding is the input embedding."""
    final_norm: str
    layers: tuple[Layer, ...]
    context: int
    vocabulary: int
    bos: str | None
    """The token that texts begin with, if the tokenizer adds one."""
    chat_template: bool
    prefix_cache: bool
    """Whether texts are continued from cached keys and values; otherwise each text is run in full."""
    why_whole: str
    tests: tuple[SelfTestResult, ...]
    """The tests on the model itself."""
    memory: dict[str, int]
    """Bytes of the weights and, in addition to them, of each phase of an edit of `edits` facts."""
    edits: int


def inspect(chosen: Chosen) -> Inspection:
    """Load the chosen model, find its parts and test them; nothing is written.

    Raises ModelError for a directory that cannot be loaded; for a model that cannot be edited, the inspection
    contains the reason.
    """
    _ = ModelDirectory.at(chosen.path).config  # what is no model is refused before torch is imported
    from editing.model.architectures import described, locate_parts
    from editing.model.loading import load_model, load_tokenizer

    model, tokenizer = load_model(chosen.path, device=chosen.device), load_tokenizer(chosen.path)
    known = _known(chosen.path, model, tokenizer)
    try:
        parts = locate_parts(model, described(chosen.settings))
    except ArchitectureError as error:
        return Inspection(**known, **_nothing(str(error)))
    return Inspection(**known, **_parts(chosen, model, parts))


def _known(path: Path, model: Any, tokenizer: Any) -> dict[str, Any]:
    """The part of the report that any model has."""
    from editing.model.loading import context_length

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    first = tokenizer("A")["input_ids"][:1]
    begins = tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
    names = {module: name for name, module in model.named_modules()}
    return {
        "model": str(path),
        "family": model.config.model_type,
        "kind": type(model).__name__,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "dtypes": _stored_dtypes(path),
        "head": names.get(head, ""),
        "tied": head is not None and head.weight is embedding.weight,
        "vocabulary": int(embedding.weight.shape[0]),
        "context": context_length(model),
        "bos": tokenizer.bos_token if begins else None,
        "chat_template": bool(tokenizer.chat_template),
        "edits": EDITS,
    }


def _stored_dtypes(path: Path) -> dict[str, int]:
    from editing.storage.base_import import stored_values

    return dict(Counter(stored_values(path)).most_common())


def _nothing(reason: str) -> dict[str, Any]:
    """The rest of the report for a model that cannot be edited."""
    return {
        "supported": False,
        "reason": reason,
        "blocks": "",
        "width": 0,
        "final_norm": "",
        "layers": (),
        "prefix_cache": False,
        "why_whole": "",
        "tests": (),
        "memory": {},
    }


def _parts(chosen: Chosen, model: Any, parts: Parts) -> dict[str, Any]:
    """The rest of the report for a model whose parts were found: parts, tests and memory."""
    from editing.memit.preparation import chosen_layers
    from editing.model.self_test import check, self_test
    from editing.storage.self_tests import as_stored

    test = self_test(model, parts)
    stored = as_stored(chosen.path, model, parts)
    reason = ""
    edited: tuple[int, ...] = ()
    try:
        check(test)
        edited = chosen_layers(parts, chosen.settings)
        check(test, edited)
    except ArchitectureError as error:
        reason = str(error)
    if not reason and not stored.passed:
        reason = stored.detail
    return {
        "supported": not reason,
        "reason": reason,
        "blocks": parts.architecture.blocks,
        "width": parts.width,
        "final_norm": _final_norm(model, parts),
        "layers": tuple(_layer(parts, layer, test.refused, edited) for layer in range(len(parts.blocks))),
        "prefix_cache": not test.whole,
        "why_whole": test.whole,
        "tests": (*test.verdicts, stored),
        "memory": _memory(model, parts, edited, chosen),
    }


def _layer(parts: Parts, layer: int, refused: dict[int, str], edited: tuple[int, ...]) -> Layer:
    found = parts.inside[layer]
    if found.writer is None:
        return Layer(layer, None, (), None, False, found.reason)
    weight: Any = parts.writer(layer).weight
    return Layer(
        layer=layer,
        writer=parts.weight_name(layer),
        shape=tuple(weight.shape),
        norm=found.norm,
        edited=layer in edited,
        reason=refused.get(layer, ""),
    )


def _final_norm(model: Any, parts: Parts) -> str:
    """Name of the last norm beside the list of blocks; empty if there is none."""
    beside = parts.architecture.blocks.rpartition(".")[0]
    home = model.get_submodule(beside) if beside else model
    norms = [name for name, module in home.named_children() if "norm" in type(module).__name__.lower()]
    return ".".join(filter(None, (beside, norms[-1]))) if norms else ""


def _memory(model: Any, parts: Parts, layers: tuple[int, ...], chosen: Chosen) -> dict[str, int]:
    """Bytes of the weights and, in addition to them, of each phase of an edit of `EDITS` facts in `layers`."""
    from editing.memit.cost import Work, step_bytes, step_tokens

    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if not layers:
        return {"weights": weights}
    settings = chosen.settings
    contexts = settings.prefixes + settings.long_prefixes + 1 if settings.keys == "all" else 1
    work = Work(
        model=model,
        parts=parts,
        layers=layers,
        steps=chosen.settings.steps,
        groups=[],
        missing=[],
        columns=EDITS * contexts,
        statistics=len(layers),
        tokens=chosen.settings.statistics_samples * chosen.settings.statistics_tokens,
    )
    phases = work.memory()
    return {
        "weights": weights,
        "optimisation": step_bytes(model, parts, layers[-1], step_tokens(model, parts, layers[-1])),
        "statistics": phases["statistics"],
        "solve": phases["solve"],
    }
