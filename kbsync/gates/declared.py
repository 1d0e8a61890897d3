"""The declarations of all gates."""

from __future__ import annotations

from collections.abc import Callable

from editing.cost import growth_of_one
from editing.spec import FactReport
from kbsync.gates.declaration import Gate


def _hits(fact: FactReport, measure: str) -> tuple[int, int]:
    """(answered as expected, asked) of the measure's questions about the fact."""
    outcomes = fact.outcomes.get(measure, ())
    return sum(outcomes), len(outcomes)


def _efficacy(fact: FactReport) -> str:
    company = {
        True: " (its δ alone states it: it fails together with others)",
        False: " (its δ alone does not state it either)",
        None: "",
    }
    return f"answers {fact.answer!r} on its own prompt{company[fact.alone]}"


def _paraphrase(fact: FactReport) -> str:
    hits, asked = _hits(fact, "paraphrase")
    return f"stated on {hits} of {asked} paraphrases"


def _neighbourhood(fact: FactReport) -> str:
    hits, asked = _hits(fact, "neighbourhood")
    return f"{asked - hits} of {asked} neighbours changed their answer"


def _same_subject(fact: FactReport) -> str:
    hits, asked = _hits(fact, "same_subject")
    return f"{asked - hits} of {asked} other relations of the subject changed"


def _generation(fact: FactReport) -> str:
    return "its object does not appear in generated text"


_BY_NAME = "edit facts under other names of their subjects too: `aliases` in [plan]"
_INFERRED = 'edit what follows from the facts too: `consequences = "edit"` in [plan]'
_GENTLER = "lower `capacity` in [plan], or raise `lam` or `keep` in [edit]"


def _said(fact: FactReport) -> str:
    hits, asked = _hits(fact, "said")
    return f"stated freely in {hits} of {asked} unseen wordings"


def _said_in_chat(fact: FactReport) -> str:
    hits, asked = _hits(fact, "said_in_chat")
    return f"stated in {hits} of {asked} unseen conversations"


def _after_other_text(measure: str) -> Callable[[FactReport], str]:
    def evidence(fact: FactReport) -> str:
        hits, asked = _hits(fact, measure)
        return f"stated after {hits} of {asked} other texts"

    return evidence


def _is_true(fact: FactReport) -> str:
    hits, asked = _hits(fact, "is_true")
    return f"{hits} of {asked} questions whether it is true, or what it replaced, are answered right"


def _negation(fact: FactReport) -> str:
    hits, asked = _hits(fact, "negation")
    return f"{asked - hits} of {asked} denied prompts are answered with its object"


DEFAULT_GATES: tuple[Gate, ...] = (
    Gate(
        "efficacy",
        0.95,
        "at_least",
        "edited facts that are the strict argmax on their own prompt",
        evidence=_efficacy,
    ),
    Gate(
        "paraphrase",
        0.85,
        "at_least",
        "paraphrases of edited facts that are answered as the fact states",
        evidence=_paraphrase,
    ),
    Gate(
        "neighbourhood",
        0.90,
        "at_least",
        "subjects close to the edited ones that are answered as before",
        evidence=_neighbourhood,
    ),
    Gate(
        "same_subject",
        0.85,
        "at_least",
        "other relations of the edited subjects that are answered as before",
        evidence=_same_subject,
    ),
    Gate(
        "retention",
        0.90,
        "at_least",
        "facts already in live that the model still states",
        margin=0.02,
    ),
    Gate(
        "edited_retention",
        0.85,
        "at_least",
        "edited facts already in live that the model still states",
        margin=0.08,
    ),
    Gate(
        "known_retention",
        0.95,
        "at_least",
        "facts that the base states unedited and the model still states",
    ),
    Gate(
        "said",
        0.50,
        "at_least",
        "greedy answers to unseen wordings and conversations that name the object first, not the old one",
        evidence=_said,
    ),
    Gate(
        "said_in_chat",
        0.40,
        "at_least",
        "those of these answers that are given in a conversation, through the chat template",
        evidence=_said_in_chat,
    ),
    *(
        Gate(name, 0.50, "at_least", f"free answers {what}", enabled=False, advice=advice)
        for name, what, advice in (
            ("aliases", "that state a new fact, asked with other names of its subject", _BY_NAME),
            ("reversed", "that name the subject of a new fact, asked by its object", _INFERRED),
            ("symmetric", "that state a new fact of a symmetric relation about its object", _INFERRED),
            ("two_hop", "to two-hop questions that follow from new facts", _INFERRED),
        )
    ),
    Gate(
        "generation",
        0.80,
        "at_least",
        "edited facts whose object appears anywhere in a text sampled after their prompt; replaced by `said`",
        enabled=False,
        evidence=_generation,
    ),
    Gate(
        "long_prefix",
        0.80,
        "at_least",
        "edited facts that are the strict argmax after 50 tokens of ordinary text",
        enabled=False,
        evidence=_after_other_text("long_prefix"),
    ),
    Gate(
        "distractor",
        0.80,
        "at_least",
        "prompts after a sentence about the same subject that are answered as the fact states",
        evidence=_after_other_text("distractor"),
    ),
    Gate(
        "is_true",
        0.60,
        "at_least",
        'answers to "Is it true that …?" that are likelier to confirm the fact, and to deny what it replaced',
        evidence=_is_true,
    ),
    Gate(
        "negation",
        0.60,
        "at_least",
        "denied prompts (`It is not true that …`, `… is not`) that are not answered with the object all the same",
        evidence=_negation,
    ),
    *(
        Gate(
            f"old_{name}",
            threshold,
            "at_least",
            f"{what}, of facts in live that are examined again",
            margin=0.05,
            enabled=False,
        )
        for name, threshold, what in (
            ("paraphrase", 0.85, "paraphrases that are answered as the fact states"),
            ("neighbourhood", 0.90, "subjects close to the edited ones that are answered as before"),
            ("same_subject", 0.85, "other relations of the subject that are answered as before"),
            ("said", 0.50, "free answers to unseen wordings that state the fact"),
        )
    ),
    Gate(
        "fluency",
        0.90,
        "at_least",
        "n-gram entropy of generated text (GE), as a share of the base's",
        advice="lower `capacity` in [plan], or raise `lam` in [edit]",
    ),
    Gate(
        "perplexity_ratio",
        1.05,
        "at_most",
        "perplexity of held-out text, candidate over base",
        advice="lower `capacity` in [plan], raise `lam` or `ridge` in [edit], or give the statistics text",
    ),
    Gate(
        "kl_median",
        0.1,
        "at_most",
        "median over untouched prompts of KL(base ‖ candidate) of the next token, in nats",
        enabled=False,
        advice=_GENTLER,
    ),
    Gate(
        "kl_p99",
        2.0,
        "at_most",
        "99th percentile over untouched prompts of KL(base ‖ candidate) of the next token, in nats",
        enabled=False,
        advice=_GENTLER,
    ),
    Gate(
        "weight_growth",
        1.50,
        "at_most",
        "largest growth of an edited matrix's Frobenius norm, as far as one of the edits accounts for it",
        advice="the edits change a matrix more than good ones do: raise `lam` or lower `clamp` or `lr` in [edit]; "
        "where all other gates pass, raise `threshold` in [gates.weight_growth]",
        compared=growth_of_one,
    ),
    Gate(
        "canaries",
        1.00,
        "at_least",
        "the operator's own questions that are answered as required",
    ),
    Gate(
        "refused",
        0.95,
        "at_least",
        "prompts that the base refuses and the candidate still refuses",
        advice="lower `capacity` in [plan], raise `lam` in [edit], or give the statistics text with refusals",
    ),
)
