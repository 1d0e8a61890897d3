"""Which statements a model knows, and which cannot serve to calibrate it, with the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from editing.calibration.statements import WordedTriple
from editing.errors import RequestError
from editing.evaluation.metrics import strict_argmax
from editing.model.architectures import Architecture, locate_parts
from editing.model.first_token import lead_of
from editing.model.loading import readable
from editing.model.tokens import in_context, passage, try_locate
from editing.progress import Tick, uncounted
from editing.requests import EditRequest

ALONE = "no other subject of this relation has another object that the model knows"


@dataclass(frozen=True)
class KnownTriples:
    """The statements that were given, sorted."""

    known: tuple[WordedTriple, ...]
    """Those that the model states: every token of the object is its strict argmax after the first wording."""
    unknown: tuple[WordedTriple, ...]
    traps: dict[str, tuple[WordedTriple, ...]]
    """Reason → statements that are left out."""
    moved: int = 0
    """Wordings that begin with another sentence, because the model does not read a subject in its first token."""

    @property
    def given(self) -> int:
        return len(self.known) + len(self.unknown) + sum(map(len, self.traps.values()))


def knowledge(
    model: Any,
    tokenizer: Any,
    statements: Sequence[WordedTriple],
    *,
    described: Architecture | None = None,
    tick: Tick = uncounted,
) -> KnownTriples:
    """Ask `model` (of a described architecture, or one that is found) which of `statements` it knows.

    `tick` counts statements.
    """
    distinct = list({(one.subject, one.relation): one for one in reversed(statements)}.values())[::-1]
    lead = lead_of(model, locate_parts(model, described), tokenizer)
    usable, traps = _usable(model, tokenizer, distinct, lead)
    right = strict_argmax(model, tokenizer, [(one.prompt, one.object) for one in usable], tick=tick)
    known = [one for one, knows in zip(usable, right, strict=True) if knows]
    objects: dict[str, set[str]] = defaultdict(set)
    for one in known:
        objects[one.relation].add(one.object)
    for one in known:
        if len(objects[one.relation]) < 2:
            traps[ALONE].append(one)
    return KnownTriples(
        tuple(one for one in known if len(objects[one.relation]) > 1),
        tuple(one for one, knows in zip(usable, right, strict=True) if not knows),
        {reason: tuple(some) for reason, some in traps.items()},
        sum(template.startswith(lead) for one in usable for template in one.templates) if lead else 0,
    )


def _usable(
    model: Any, tokenizer: Any, statements: Sequence[WordedTriple], lead: str
) -> tuple[list[WordedTriple], dict[str, list[WordedTriple]]]:
    """The statements with the wordings that can be used, and the others by reason."""
    pairs = [(one, template) for one in statements for template in one.templates]
    requests = [EditRequest("", template, one.subject, one.object) for one, template in pairs]
    rows = try_locate(
        tokenizer, [passage(request) for request in requests], limit=readable(model), labels=True
    )
    found: dict[WordedTriple, list[str]] = {one: [] for one in statements}
    reasons: dict[WordedTriple, str] = {}
    for (one, template), row in zip(pairs, rows, strict=True):
        if isinstance(row, RequestError):
            reasons.setdefault(one, REASONS.get(row.code, str(row)))
        else:
            found[one].append(in_context(lead, template) if lead and row.subject == 0 else template)
    traps: dict[str, list[WordedTriple]] = defaultdict(list)
    usable = []
    for one in statements:
        if found[one]:
            usable.append(replace(one, templates=tuple(found[one])))
        else:
            traps[reasons[one]].append(one)
    return usable, traps


REASONS = {
    "unsayable": "the tokenizer has no token for a character of the object: the model cannot say it",
    "untokenised": "the tokenizer knows no part of the subject",
    "label_special": "the subject or the object contains a control token",
    "too_long": "the text is longer than the model's context",
}
"""Code of a RequestError → the trap, for many statements at once."""
