"""Editing what follows from the facts of a view where the edited model does not infer it.

MEMIT's edits are hardly used in further steps (two-hop accuracy of an edited model is close to zero: MQuAKE,
arXiv 2305.14795).  A consequence that the model does not state becomes a further wording of its fact.  It leaves the
build with any of the facts that it follows from, because consequences are derived again for every view.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from editing.consequence import Consequence
from editing.evaluation.cases import Known
from editing.evaluation.free_answers import free_answers, states
from editing.evaluation.view_names import ViewNames
from editing.progress import Tick, uncounted
from editing.spec import BuildSpec, FactSpec, Wording


def with_derived(
    model: Any, tokenizer: Any, spec: BuildSpec, known: Known, tick: Tick = uncounted
) -> BuildSpec:
    """`spec` with the consequences of edited facts that `model`, as it is now, does not state among their further
    wordings; `spec` itself if it states all of them."""
    asked = {
        one: one.rendered for fact in spec.facts if not known[fact.id].known for one in fact.consequences
    }
    prompts = list(dict.fromkeys(asked.values()))
    answers = dict(zip(prompts, free_answers(model, tokenizer, prompts, tick=tick), strict=True))
    names = ViewNames(spec.facts)
    missing = {one for one, prompt in asked.items() if not states(answers[prompt], names.consequence(one))}
    if not missing:
        return spec
    return replace(spec, facts=tuple(_with(fact, missing) for fact in spec.facts))


def _with(fact: FactSpec, missing: set[Consequence]) -> FactSpec:
    more = (Wording(one.prompt, one.subject, one.target) for one in fact.consequences if one in missing)
    return replace(fact, further=(*fact.further, *more))
