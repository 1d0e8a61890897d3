"""Parts of a build, without its end: the estimate of its cost, or one share of what machines divide among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editing.cost import Cost
from editing.editors.contract import BuildInputs
from editing.editors.registry import editor_named
from editing.progress import Progress
from editing.spec import BuildSpec, FactSpec
from editing.worker.candidates import max_rank
from editing.worker.screening import edit_requests, kept_prompts, kl_prompts

PARTS = ("plan", "statistics", "residuals", "keys", "solve")
"""The modes of a spec that ask for one, the estimate first."""


def part_of_build(
    model: Any, tokenizer: Any, spec: BuildSpec, inputs: BuildInputs, progress: Progress
) -> Cost:
    """The cost of the part that `spec.mode` names, of a build with `inputs`; what it computed is in the cache.

    A share of what the editor does not divide is empty.  Raises what the editor raises.
    """
    editor = editor_named(spec.settings.editor)
    arranged = editor.arranged(inputs)
    if spec.mode == "plan":
        return Cost(preflight=editor.estimate(model, tokenizer, arranged))
    if spec.mode in editor.shares:
        compute = editor.shares[spec.mode]
        return Cost(seconds=compute(model, tokenizer, arranged, spec.share, progress))
    if spec.mode in editor.by_layer:
        of_layer = editor.by_layer[spec.mode]
        return Cost(seconds=of_layer(model, tokenizer, arranged, spec.step, spec.share, progress))
    return Cost()


def inputs_of(spec: BuildSpec, lead: str, edited: Sequence[FactSpec]) -> BuildInputs:
    """What an editor is given to edit the facts `edited` of `spec`; `lead`: see `first_token.lead_of`."""
    return BuildInputs(
        requests=[request for fact in edited for request in edit_requests(fact)],
        settings=spec.settings,
        cache=Path(spec.cache),
        base_digest=spec.base_digest,
        corpus=[Path(file) for file in spec.corpus],
        kl_prompts=kl_prompts(list(edited)),
        kept=kept_prompts(spec.facts),
        lead=lead,
        max_rank=max_rank(spec),
        partial=True,
    )
