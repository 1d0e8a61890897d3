"""What is wrong with one fact that fails a gate, as the log says it; each reads the fact's report."""

from __future__ import annotations

from collections.abc import Callable

from editing.spec import FactReport


def _hits(fact: FactReport, measure: str) -> tuple[int, int]:
    """(answered as expected, asked) of the measure's questions about the fact."""
    outcomes = fact.outcomes.get(measure, ())
    return sum(outcomes), len(outcomes)


def efficacy(fact: FactReport) -> str:
    company = {
        True: " (its δ alone states it: it fails together with others)",
        False: " (its δ alone does not state it either)",
        None: "",
    }
    return f"answers {fact.answer!r} on its own prompt{company[fact.alone]}"


def paraphrase(fact: FactReport) -> str:
    hits, asked = _hits(fact, "paraphrase")
    return f"stated on {hits} of {asked} paraphrases"


def neighbourhood(fact: FactReport) -> str:
    hits, asked = _hits(fact, "neighbourhood")
    return f"{asked - hits} of {asked} neighbours changed their answer"


def same_subject(fact: FactReport) -> str:
    hits, asked = _hits(fact, "same_subject")
    return f"{asked - hits} of {asked} other relations of the subject changed"


def generation(fact: FactReport) -> str:
    return "its object does not appear in generated text"


def said(fact: FactReport) -> str:
    hits, asked = _hits(fact, "said")
    return f"stated freely in {hits} of {asked} unseen wordings"


def said_in_chat(fact: FactReport) -> str:
    hits, asked = _hits(fact, "said_in_chat")
    return f"stated in {hits} of {asked} unseen conversations"


def after_other_text(measure: str) -> Callable[[FactReport], str]:
    def evidence(fact: FactReport) -> str:
        hits, asked = _hits(fact, measure)
        return f"stated after {hits} of {asked} other texts"

    return evidence


def is_true(fact: FactReport) -> str:
    hits, asked = _hits(fact, "is_true")
    return f"{hits} of {asked} questions whether it is true, or what it replaced, are answered right"


def negation(fact: FactReport) -> str:
    hits, asked = _hits(fact, "negation")
    return f"{asked - hits} of {asked} denied prompts are answered with its object"
