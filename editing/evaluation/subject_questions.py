"""What the base knows of a subject about which the ledger knows nothing else.

An edit harms the other relations of its subject most, so these are asked even if only the base knows any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from editing.evaluation.cases import Known
from editing.evaluation.measures.declaration import populations
from editing.evaluation.questions import AskedBase
from editing.evaluation.scoring import Question, cut_answer, encode_prompts
from editing.model.first_token import away_from_start
from editing.requests import prompt_key, render
from editing.spec import BuildSpec, Case, FactSpec

MOST = 3
"""Maximum number of relations per subject that the base is taken at its word about."""
KNOWS = 0.5
"""Mean probability of a token of the base's answer from which on it is taken to know the relation."""


def with_subject_questions(base: AskedBase, lead: str, spec: BuildSpec, known: Known) -> BuildSpec:
    """`spec` in which the facts with `other_relations` that are new or examined ask about their subject.

    These are asked those relations that the base answers with confidence, and else its own continuation of the last.
    `lead`: see `first_token.lead_of`.
    """
    bare = [
        fact
        for fact in spec.facts
        if base.asks_about(fact)
        and fact.other_relations
        and populations(fact, known[fact.id].known) & {"new", "examined"}
    ]
    if not bare:
        return spec
    edited = {prompt_key(render(w.prompt, w.subject)) for fact in spec.facts for w in fact.wordings()}
    asked = {fact.id: _prompts(base.tokenizer, lead, fact, edited) for fact in bare}
    sure = _confidence(base, [prompt for prompts in asked.values() for prompt in prompts])
    cases = {
        id: tuple(
            Case(prompt) for prompt in [one for one in prompts if sure[one] >= KNOWS][:MOST] or prompts[-1:]
        )
        for id, prompts in asked.items()
    }
    facts = (replace(f, same_subject=(*f.same_subject, *cases.get(f.id, ()))) for f in spec.facts)
    return replace(spec, facts=tuple(facts))


def _prompts(tokenizer: Any, lead: str, fact: FactSpec, edited: set[str]) -> list[str]:
    """The prompts about the subject that the view does not edit."""
    texts = [render(one, fact.subject) for one in fact.other_relations]
    moved = away_from_start(tokenizer, lead, [(text, fact.subject) for text in texts])
    return [text for text in dict.fromkeys(moved) if prompt_key(text) not in edited]


def _confidence(base: AskedBase, prompts: Iterable[str]) -> dict[str, float]:
    """Prompt → mean probability of a token of the base's own answer."""
    distinct = list(dict.fromkeys(prompts))
    encoded = encode_prompts(base.tokenizer, distinct)
    base.responses.answer(base.model, base.tokenizer, encoded, base.tick)
    own = [Question(ids, cut_answer(base.tokenizer, base.responses.greedy[ids])[1]) for ids in encoded]
    base.responses.score(base.model, own, base.tick)
    return {prompt: base.responses.scores[one].probability for prompt, one in zip(distinct, own, strict=True)}
