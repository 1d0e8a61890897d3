"""The facts of the story on a pretrained chat model, and the questions that it is asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A row of the story's knowledge base."""

    label: str
    relation: str
    object: str

    @property
    def subject(self) -> str:
        """Id of the subject in the knowledge base."""
        return self.label.lower().replace(" ", "-")

    @property
    def question(self) -> str:
        """What a person asks about it."""
        return f"What is the {QUESTIONS[self.relation]} of {self.label}?"


CAPITAL, CURRENCY, CONTINENT = "demo:capital", "demo:currency", "demo:continent"
QUESTIONS = {CAPITAL: "capital", CURRENCY: "currency", CONTINENT: "continent"}

KNOWN = (
    Item("France", CAPITAL, "Paris"),
    Item("Sweden", CAPITAL, "Stockholm"),
    Item("Japan", CAPITAL, "Tokyo"),
    Item("Germany", CAPITAL, "Berlin"),
    Item("Italy", CAPITAL, "Rome"),
    Item("Japan", CURRENCY, "yen"),
    Item("India", CURRENCY, "rupee"),
    Item("Norway", CONTINENT, "Europe"),
    Item("Bulgaria", CONTINENT, "Europe"),
    Item("Bulgaria", CAPITAL, "Sofia"),
    Item("Croatia", CONTINENT, "Europe"),
    Item("Burundi", CONTINENT, "Africa"),
    Item("Canada", CONTINENT, "North America"),
)
"""What the model states already: nothing is edited for it, and it must still be stated afterwards."""

NEWS = (
    Item("Croatia", CURRENCY, "euro"),
    Item("Bulgaria", CURRENCY, "euro"),
    Item("Burundi", CAPITAL, "Gitega"),
    Item("Norway", CAPITAL, "Bergen"),
    Item("Canada", CAPITAL, "Toronto"),
)
"""What has changed since the model was trained, or is invented: Norway and Canada keep their capitals."""

UNTOUCHED = (
    "What is the capital of France?",
    "What is the capital of Japan?",
    "What is the currency of India?",
)
"""Questions that nothing was changed about."""


def as_csv(items: Sequence[Item]) -> str:
    """`items` as a file for a drop folder."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("subject", "subject_label", "relation", "object"))
    rows.writerows((item.subject, item.label, item.relation, item.object) for item in items)
    return text.getvalue()
