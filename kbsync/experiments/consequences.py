"""What follows from the facts that an experiment edits, together with what the model states.  Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from editing.calibration.statements import WordedTriple, digest
from editing.consequence import Consequence
from editing.requests import prompt_key
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.experiments.cases import EditCase
from kbsync.runs.consequences import LedgerClaims, Premise, by_fact, chosen, consistent, derivations

COMMON = {
    "capital": "wdt:P36",
    "continent": "wdt:P30",
    "country": "wdt:P17",
    "currency": "wdt:P38",
    "language": "wdt:P37",
}
"""Relation of the common knowledge → its entry in the catalogue."""


def common_catalogue() -> Catalogue:
    """The relations of the common knowledge that the catalogue has phrases for."""
    own = load_catalogue()
    return Catalogue({name: own[entry] for name, entry in COMMON.items()})


@dataclass(frozen=True)
class Background:
    """What consequences follow from, besides the edited facts."""

    known: tuple[WordedTriple, ...] = ()
    """Facts that the model states."""
    catalogue: Catalogue = field(default_factory=lambda: Catalogue({}))
    """How two hops and reversed facts are put into words."""

    @property
    def key(self) -> str:
        """Changes with everything that consequences depend on besides the edited facts."""
        words = [asdict(relation) for relation in self.catalogue.values()]
        text = json.dumps([digest(self.known), words], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def consequences(self, cases: Sequence[EditCase]) -> Mapping[str, tuple[Consequence, ...]]:
        """Id of each case → at most one consequence of each kind, by the rules of a run."""
        edited = [_premise(case, number) for number, case in enumerate(cases)]
        slots = {(one.subject, one.relation) for one in edited}
        kept = [
            Premise(one.subject, one.relation, one.object, one.subject, one.object)
            for one in self.known
            if (one.subject, one.relation) not in slots
        ]
        stated = [*edited, *kept]
        derived = list(derivations(stated, range(len(cases)), self.catalogue))
        prompts = {prompt_key(case.record.request.rendered) for case in cases}
        found = by_fact(chosen(consistent(derived, stated, prompts, LedgerClaims()), 1), {})
        return {case.record.request.id: found.get(str(number), ()) for number, case in enumerate(cases)}


def _premise(case: EditCase, number: int) -> Premise:
    target = case.record.request.target
    return Premise(case.subject, case.relation, target, case.subject, target, number)
