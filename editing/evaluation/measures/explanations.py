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


def counts(measure: str, sentence: str) -> Callable[[FactReport], str]:
    """`sentence` with the numbers of the measure's questions about the fact: {asked}, {hits} answered as expected,
    {missed} otherwise."""

    def evidence(fact: FactReport) -> str:
        hits, asked = _hits(fact, measure)
        return sentence.format(hits=hits, asked=asked, missed=asked - hits)

    return evidence


paraphrase = counts("paraphrase", "stated on {hits} of {asked} paraphrases")
neighbourhood = counts("neighbourhood", "{missed} of {asked} neighbours changed their answer")
same_subject = counts("same_subject", "{missed} of {asked} other relations of the subject changed")
said = counts("said", "stated freely in {hits} of {asked} unseen wordings")
said_in_chat = counts("said_in_chat", "stated in {hits} of {asked} unseen conversations")
long_prefix = counts("long_prefix", "stated after {hits} of {asked} other texts")
distractor = counts("distractor", "stated after {hits} of {asked} other texts")
is_true = counts(
    "is_true", "{hits} of {asked} questions whether it is true, or what it replaced, are answered right"
)
negation = counts("negation", "{missed} of {asked} denied prompts are answered with its object")


def generation(fact: FactReport) -> str:
    return "its object does not appear in generated text"
