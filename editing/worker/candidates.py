"""Writing a candidate with its forms, and how an adapter's answers differ from those of the checkpoint that is judged.

The checkpoint is the base with the adapter added, rounded to the dtype that the base is stored in; a server that loads
the adapter computes base and ΔW separately.  What the rounding changes is measured on the facts' own prompts, and
written to the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.cost import Cost
from editing.editors.contract import EditResult
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import encode_prompts
from editing.model.inference import Continuation, Ids, for_each_batch
from editing.model.weights import swapped
from editing.requests import PLACEHOLDER
from editing.spec import BuildSpec
from editing.storage.adapter import MAX_RANK, Adapter, fit_adapter, read_adapter
from editing.storage.base_import import EDITABLE
from editing.storage.checkpoints import Extras, read_editable, write_checkpoint
from editing.storage.forms import Form, Measure
from editing.storage.manifest import read_manifest
from editing.storage.shards import read_header, rounded
from editing.worker.packing import pack_of

Tensors = Mapping[str, Tensor]
COMPARED = 256
"""Facts whose own prompts are compared."""
ADAPTER = "adapter"


def max_rank(spec: BuildSpec) -> int | None:
    """The largest rank of a layer's update, if the candidate is to be an adapter too."""
    return spec.form_options.get(ADAPTER, {}).get("max_rank", MAX_RANK) if ADAPTER in spec.forms else None


@dataclass(frozen=True)
class Written:
    """A checkpoint that was written, and what was asked of it before."""

    digest: str
    tensors: Tensors
    """Its changed tensors, as they should be stored."""
    responses: Responses
    """Answers with exactly these tensors."""

    def answers(self, read: Tensors) -> Responses | None:
        """`responses`, if `read` are the same tensors, bit for bit: nothing has to be asked again then."""
        if self.tensors.keys() != read.keys():
            return None
        pairs = [(one.cpu(), read[name]) for name, one in self.tensors.items()]
        same = all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)
        return self.responses if same else None


def write_candidate(
    model: Any, tokenizer: Any, spec: BuildSpec, built: EditResult | None, responses: Responses
) -> Written:
    """Write the checkpoint that the spec asks for, with its forms; `responses` keeps what it is asked for its pack.

    If one of them is the adapter, all are the base with that adapter added, so that the gates judge the adapter as it
    is served.  `built`: None if nothing is edited.  `model` has the weights of the base.  Raises CheckpointError.
    """
    tensors, adapter = _tensors(spec, built)
    forms: dict[str, Form | None] = dict.fromkeys(spec.forms)
    if adapter is not None:
        forms[ADAPTER] = adapter
    cost = built.cost if built else Cost()
    stored = _stored(Path(spec.base), tensors)
    digest = write_checkpoint(
        Path(spec.base),
        Path(spec.out),
        tensors,
        forms,
        solved=cost.solved(),
        options=spec.form_options,
        extras=Extras(
            difference(model, tokenizer, spec, tensors, cost),
            pack_of(model, tokenizer, spec, stored, responses),
        ),
    )
    return Written(digest, stored, responses)


def _tensors(spec: BuildSpec, built: EditResult | None) -> tuple[Tensors, Adapter | None]:
    """The candidate's changed tensors, and its adapter, with which they are then the base's."""
    tensors = built.tensors if built else {}
    if (rank := max_rank(spec)) is None:
        return tensors, None
    adapter = fit_adapter(Path(spec.base), tensors, rank)
    return adapter.merged() if tensors else {}, adapter


def difference(model: Any, tokenizer: Any, spec: BuildSpec, tensors: Tensors, cost: Cost) -> Measure:
    """What measures the adapter among a candidate's forms; `model` has the weights of the base."""

    def measure(form: str, directory: Path) -> Mapping[str, float]:
        if form != ADAPTER:
            return {}
        texts = [fact.prompt.replace(PLACEHOLDER, fact.subject) for fact in spec.facts[:COMPARED]]
        base = Path(spec.base)
        apart = compared(
            model, encode_prompts(tokenizer, texts), _stored(base, tensors), _adapted(base, directory)
        )
        return apart | _limited(cost)

    return measure


def _limited(cost: Cost) -> dict[str, float]:
    """What the solve lost by the limit of the rank, if it lost anything."""
    if not any(cost.misfits.values()):
        return {}
    return {"needed_rank": max(cost.ranks.values()), "relative_error": max(cost.misfits.values())}


def compared(
    model: Any, prompts: Sequence[Ids], checkpoint: Mapping[str, Tensor], adapted: Mapping[str, Tensor]
) -> dict[str, float]:
    """The largest difference of a logit after any of the prompts, and the share of prompts with the same next token."""
    with swapped(model, checkpoint):
        judged = _next(model, prompts)
    with swapped(model, adapted):
        served = _next(model, prompts)
    apart = [float((a - b).abs().max()) for a, b in zip(judged, served, strict=True)]
    same = [int(a.argmax()) == int(b.argmax()) for a, b in zip(judged, served, strict=True)]
    return {
        "prompts": float(len(prompts)),
        "max_logit_difference": max(apart, default=0.0),
        "same_next_token": sum(same) / len(same) if same else 1.0,
    }


def _next(model: Any, prompts: Sequence[Ids]) -> list[Tensor]:
    """The logits after each prompt, on the CPU."""
    found: dict[int, Tensor] = {}

    def run(batch: Sequence[int]) -> None:
        with torch.no_grad():
            logits = Continuation(model, [prompts[at] for at in batch]).logits
        found.update(zip(batch, logits.float().cpu(), strict=True))

    for_each_batch(model, range(len(prompts)), lambda at: len(prompts[at]), run)
    return [found[at] for at in range(len(prompts))]


def as_stored(spec: BuildSpec, built: EditResult | None) -> dict[str, Tensor]:
    """The edited tensors as the spec's checkpoint has them, whether or not it was written."""
    return _stored(Path(spec.base), _tensors(spec, built)[0])


def _stored(base: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as the checkpoint stores them."""
    manifest, stored = read_manifest(base), read_header(base / EDITABLE)
    return {name: rounded(name, one, stored[manifest.editable[name]]) for name, one in tensors.items()}


def _adapted(base: Path, directory: Path) -> dict[str, Tensor]:
    """The base's tensors with the adapter added."""
    updates = read_adapter(directory)
    return {name: one.float() + updates[name] for name, one in read_editable(base, updates.keys()).items()}
