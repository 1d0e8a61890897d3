"""A specialised domain: in which constellations stars lie, which a general model hardly knows.

The list ships with kbsync (`stars.tsv`); another one is named with `--facts`.
"""

from __future__ import annotations

from pathlib import Path

from editing.datasets import Record
from editing.requests import EditRequest
from kbsync.experiments.cases import EditCase
from kbsync.experiments.report import Findings
from kbsync.experiments.setup import Setup
from kbsync.experiments.stories import story

LIST = Path(__file__).with_name("stars.tsv")
PROMPT = "The star {} lies in the constellation"
PARAPHRASES = (
    "The constellation of {} is",
    "{} is a star of the constellation",
    "You find {} in the constellation",
)
QUICK, FULL = 20, 1_000


def cases() -> tuple[EditCase, ...]:
    """A case for each star of the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return tuple(
        EditCase(
            Record(
                EditRequest(star, PROMPT, star, constellation),
                paraphrases=tuple(text.replace("{}", star) for text in PARAPHRASES),
                relation="constellation",
            ),
            relation="constellation",
            wordings=PARAPHRASES,
        )
        for star, constellation in rows
    )


def experiment(setup: Setup) -> Findings:
    """The given facts, or those of the list."""
    own = setup.given or cases()
    return story(setup, "Stars and constellations", own[: QUICK if setup.quick else FULL])
