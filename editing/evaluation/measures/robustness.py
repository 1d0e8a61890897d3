"""What the robustness measures ask: the fact after other text, in a question, and under negation.

People do not ask in the words of an edit.  Edited models were found to lose a fact after a few sentences of other text,
and to state it whether it is affirmed or denied (arXiv 2510.00625).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from editing.model.tokens import LEAD, continued, in_context
from editing.requests import render
from editing.spec import Case, FactSpec

FACTS = 32
"""Maximum number of facts that each measure asks about."""
YES, NO = "Yes", "No"
_COPULA = re.compile(r"\b(?:is|are|was|were)$")
_ABOUT = "Much has been written about {}."
"""A sentence about any subject."""


def after_long_text(fact: FactSpec) -> Sequence[Case]:
    """The fact's own prompt after 50 tokens of ordinary text."""
    own = render(fact.prompt, fact.subject)
    return tuple(Case(in_context(text, own), fact.target) for text in fact.contexts)


def after_distractor(fact: FactSpec) -> Sequence[Case]:
    """The fact's own prompt after a sentence about the same subject: one that says little, and another fact."""
    own = _sentence(fact)
    sentences = (_ABOUT.format(fact.subject), *fact.about_subject[:1])
    return tuple(Case(in_context(sentence, own), fact.target) for sentence in sentences)


def confirmed(fact: FactSpec) -> Sequence[Case]:
    """Whether the fact is true, and whether what it replaced still is; nothing without a replaced object."""
    if not fact.previous:
        return ()
    clause = _clause(fact)
    return (Case(_is_true(clause, fact.target), YES), Case(_is_true(clause, fact.previous), NO))


def negated(fact: FactSpec) -> Sequence[Case]:
    """The fact's own prompt, denied: its object is then no right answer."""
    own = _sentence(fact)
    prompts = [f"It is not true that {_clause(fact)}", *([f"{own} not"] if _COPULA.search(own) else [])]
    return tuple(Case(prompt, fact.target) for prompt in prompts)


def _is_true(clause: str, target: str) -> str:
    return f"Is it true that {continued(clause, target)}? Answer {YES} or {NO}."


def _sentence(fact: FactSpec) -> str:
    """The fact's own prompt without a sentence before it."""
    return render(fact.prompt, fact.subject).removeprefix(LEAD).lstrip()


def _clause(fact: FactSpec) -> str:
    """The own prompt as a subordinate clause; a name at its beginning keeps its capital letter."""
    own = _sentence(fact)
    lower = own[1:2].islower() or own[1:2].isspace()  # not an acronym
    return own[:1].lower() + own[1:] if lower and not own.startswith(fact.subject) else own
