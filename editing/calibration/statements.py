"""What a model may know: statements about subjects, from a file, from a ledger, or from the common knowledge here.

Torch-free.  A statement has a relation, which several subjects share: a counterfactual edit of it takes the object
of another subject, so the new object is always one that the model has been seen to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from editing.datasets import Record
from editing.requests import PLACEHOLDER, render

COMMON = Path(__file__).with_name("common_knowledge.json")


@dataclass(frozen=True, slots=True)
class WordedTriple:
    """A subject, a relation and an object, with the relation's wordings."""

    subject: str
    relation: str
    object: str
    templates: tuple[str, ...]
    """With one `{}` each, followed by the object; the first is edited with, the others are paraphrases."""
    question: str = ""
    """A question with one `{}`, as it is asked through a chat template; empty if there is none."""

    @property
    def prompt(self) -> str:
        """The wording that is edited, rendered."""
        return render(self.templates[0], self.subject)

    @property
    def paraphrases(self) -> tuple[str, ...]:
        """The other wordings, rendered."""
        return tuple(render(template, self.subject) for template in self.templates[1:])


def common_knowledge() -> tuple[WordedTriple, ...]:
    """Capitals, continents, languages, currencies, cities, authors and chemical symbols."""
    relations = json.loads(COMMON.read_text(encoding="utf-8"))["relations"]
    return tuple(
        WordedTriple(subject, name, object_, tuple(relation["templates"]), relation["question"])
        for name, relation in relations.items()
        for subject, object_ in relation["facts"].items()
    )


def from_records(records: Iterable[Record]) -> tuple[WordedTriple, ...]:
    """The statements of a facts file; its relations are its templates.

    The object is the previous one where the record has one (as in CounterFact), since that is what an unedited
    model may know.
    """
    return tuple(
        WordedTriple(
            subject=record.request.subject,
            relation=record.request.prompt,
            object=record.previous or record.request.target,
            templates=(record.request.prompt, *_templates(record)),
            question=record.questions[0] if record.questions else "",
        )
        for record in records
    )


def _templates(record: Record) -> list[str]:
    """The paraphrases that name the subject exactly once, as templates."""
    subject = record.request.subject
    named = [
        text.strip() for text in record.paraphrases if text.count(subject) == 1 and PLACEHOLDER not in text
    ]
    return [text.replace(subject, PLACEHOLDER) for text in named]


def digest(statements: Sequence[WordedTriple]) -> str:
    """SHA-256 of the statements, whatever their order."""
    rows = sorted(json.dumps(asdict(one), sort_keys=True, ensure_ascii=False) for one in statements)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
