"""The retrieval pack of a candidate: what is wanted, without the facts that its weights are seen to state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from editing.evaluation.responses import Responses
from editing.evaluation.scoring import encode_targets
from editing.model.weights import swapped
from editing.requests import render
from editing.spec import BuildSpec
from editing.storage.pack import FILE, write_pack


def pack_of(
    model: Any, tokenizer: Any, spec: BuildSpec, tensors: Mapping[str, Tensor], responses: Responses
) -> Path | None:
    """The pack's file, written beside the spec's list of what is wanted; None if the candidate is to have none.

    `model` has the weights of the base, `tensors` are the changed ones as they are stored, and `responses` keeps what
    is asked of the candidate.  Raises SpecError.
    """
    if spec.wanted is None:
        return None
    file = Path(spec.wanted).with_name(FILE)
    with swapped(model, tensors):
        proven = _stated(model, tokenizer, spec, responses)
    write_pack(Path(spec.wanted), spec.wanted_digest, proven, file)
    return file


def _stated(model: Any, tokenizer: Any, spec: BuildSpec, responses: Responses) -> frozenset[str]:
    """Ids of the facts that `model` states on their own prompts (strict argmax).

    All edited facts are asked, and of what the base states as many as the exam asks.
    """
    edited = [fact for fact in spec.facts if not fact.known]
    known = [fact for fact in spec.facts if fact.known]
    asked = [*edited, *known[: max(0, spec.retention_sample - len(edited))]]
    questions = encode_targets(
        tokenizer, [(render(fact.prompt, fact.subject), fact.target) for fact in asked]
    )
    responses.score(model, questions)
    pairs = zip(asked, questions, strict=True)
    return frozenset(fact.id for fact, question in pairs if responses.states(question))
