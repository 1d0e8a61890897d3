"""A spec whose prompts keep their subjects away from the first token, for a base that does not read them there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from editing.model.first_token import away_from_start
from editing.spec import BuildSpec, Case, FactSpec, Wording


def without_first_tokens(tokenizer: Any, lead: str, spec: BuildSpec) -> BuildSpec:
    """`spec` with `lead` before every prompt whose subject would end in the text's first token.

    The facts are then edited and asked in the same words.  Neighbours are left as they are: their subjects are
    not part of a spec, and whatever the base answers is expected of them.  Without `lead`, `spec` is returned.
    """
    if not lead:
        return spec
    prompts = dict.fromkeys(pair for fact in spec.facts for pair in _prompts(fact))
    moved = dict(zip(prompts, away_from_start(tokenizer, lead, list(prompts)), strict=True))
    return replace(spec, facts=tuple(_moved(fact, moved) for fact in spec.facts))


def _prompts(fact: FactSpec) -> Iterable[tuple[str, str]]:
    """(prompt, subject) of everything that is edited or asked about the fact's own subject."""
    yield from ((said.prompt, said.subject) for said in fact.wordings())
    yield from ((prompt, fact.subject) for prompt in fact.paraphrases)
    yield from ((case.prompt, fact.subject) for case in fact.same_subject)
    yield from ((case.prompt, fact.target) for case in fact.reversed)
    yield from ((prompt, fact.subject) for prompt in fact.renamed)
    yield from ((one.prompt, one.subject) for one in fact.consequences)


def _moved(fact: FactSpec, moved: dict[tuple[str, str], str]) -> FactSpec:
    subject = fact.subject

    def cases(some: Iterable[Case], name: str) -> tuple[Case, ...]:
        return tuple(replace(case, prompt=moved[case.prompt, name]) for case in some)

    return replace(
        fact,
        prompt=moved[fact.prompt, subject],
        variants=tuple(moved[template, subject] for template in fact.variants),
        further=tuple(Wording(moved[w.prompt, w.subject], w.subject, w.target) for w in fact.further),
        paraphrases=tuple(moved[prompt, subject] for prompt in fact.paraphrases),
        same_subject=cases(fact.same_subject, subject),
        reversed=cases(fact.reversed, fact.target),
        renamed=tuple(moved[prompt, subject] for prompt in fact.renamed),
        consequences=tuple(replace(one, prompt=moved[one.prompt, one.subject]) for one in fact.consequences),
    )
