"""Reports of earlier versions, converted to the current one.  Torch-free."""

from __future__ import annotations

from typing import Any

_FIRST_OUTCOMES = {
    "paraphrases": "paraphrase",
    "neighbours": "neighbourhood",
    "same_subject": "same_subject",
    "generated": "generation",
}
"""Key of a fact in a version 1 report → the measure whose outcomes it contains."""


def upgraded(report: dict[str, Any], version: int) -> dict[str, Any]:
    """A version 1 report, which had a key for every measure, as one of `version`."""
    facts = report.get("facts")
    current = [_upgraded_fact(fact) for fact in facts] if isinstance(facts, list) else facts
    return {**report, "facts": current, "version": version}


def _upgraded_fact(fact: object) -> object:
    if not isinstance(fact, dict):
        return fact
    found = {"efficacy": fact.get("efficacy")} | {
        name: fact.get(key) for key, name in _FIRST_OUTCOMES.items()
    }
    outcomes = {
        name: hits if isinstance(hits, list) else [hits]
        for name, hits in found.items()
        if hits not in (None, [])
    }
    kept = {key: value for key, value in fact.items() if key not in _FIRST_OUTCOMES}
    return kept | {"outcomes": outcomes}
