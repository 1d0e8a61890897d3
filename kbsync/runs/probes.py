"""What a new fact will be judged by: neighbours, the subject's other facts, and its other names.

Fetched from the source once, when the fact is new, and stored with it, so that every later gate asks
the same questions.  Neighbours share the relation and the object that the fact replaces (else the
relation alone): what an edit that is too broad would move first.

Facts come in batches, and a public endpoint is asked as little as possible: once for each relation and
replaced object, once for each relation, once for each subject.  What a source cannot be asked (a drop
folder) is taken from the ledger, which has what it said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from connectors.observations import Entity as Named
from connectors.observations import Triple
from editing.folding import fold
from editing.requests import prompt_key, render
from kbsync.admission.policy import Policy
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Catalogue
from kbsync.errors import KbsyncError
from kbsync.executor import Progress, silent
from kbsync.intake.source import Source
from state.errors import StateError
from state.facts import previous_value
from state.ledger import Snapshot, State, Transaction
from state.records import Entity, Fact, Probe

NEIGHBOURS = 10
SAME_SUBJECT = 10
ALIASES = 5
"""How many of each kind are stored with a fact; the planner uses as many as its settings say."""

POOL = 100
"""Triples of one relation, or of one relation and object, that neighbours are drawn from."""


@dataclass(frozen=True)
class Gatherer:
    """Fetches probes from the sources and stores them."""

    state: State
    sources: Mapping[str, Source]
    catalogue: Catalogue
    policy: Policy
    write: Callable[[], AbstractContextManager[Transaction]]
    """Opens the leader's transactions."""

    def gather(
        self,
        facts: Iterable[Fact],
        known: Collection[int] = (),
        progress: Progress = silent,
    ) -> dict[str, str]:
        """Fetches and stores the probes of those `facts` that have none yet.

        `known`: ids of facts that the base states; of what the ledger has, they go first, since what is
        edited itself is no probe.  Each source is asked outside any transaction and within one deadline.

        Returns why sources could not be asked, by name: their facts are left without probes and are asked
        about again by the next call.
        """
        with self.state.read() as tx:
            bare = [fact for fact in facts if not tx.probes(fact.id)]
        asked = _Asked(self.state, self.sources, known)
        trouble: dict[str, str] = {}
        done = 0
        for name, group in _by_source(bare):
            try:
                with asked.of(name):
                    for fact in group:
                        self._keep(fact, self._probes(fact, asked))
                        done += 1
                        progress("probes", done, len(bare), None)
            except (StateError, KbsyncError):
                raise  # the ledger's or the leader's trouble
            except Exception as error:  # noqa: BLE001  whatever a connector raises, the other sources are asked
                trouble[name] = f"{type(error).__name__}: {error}"
        return trouble

    def _probes(self, fact: Fact, asked: _Asked) -> list[Probe]:
        with self.state.read() as tx:
            subject = tx.entities([fact.subject]).get(fact.subject)
            replaced = _replaced(tx, fact)
        return [
            *_aliases(fact, subject, self.policy),
            *_neighbours(fact, replaced, asked, self.catalogue, self.policy),
            *_same_subject(fact, asked, self.catalogue, self.policy),
        ]

    def _keep(self, fact: Fact, probes: list[Probe]) -> None:
        with self.write() as tx:
            tx.put_probes(fact.id, _unambiguous(tx, fact, probes))


def _by_source(facts: Iterable[Fact]) -> Iterator[tuple[str, list[Fact]]]:
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.source, []).append(fact)
    yield from groups.items()


@dataclass
class _Asked:
    """What was asked in this batch, of a source or else of the ledger: nothing is asked twice."""

    state: State
    sources: Mapping[str, Source]
    known: Collection[int]
    _found: dict[tuple[str, ...], tuple[Triple, ...]] = field(default_factory=dict)

    def of(self, name: str) -> AbstractContextManager[None]:
        """All questions about facts of one source share its deadline."""
        source = self.sources.get(name)
        return source.reading() if source else nullcontext()

    def holders(self, fact: Fact, object: str) -> tuple[Triple, ...]:
        """Subjects of the fact's relation that have `object`."""
        source = self.sources.get(fact.source)
        return self._once(
            ("holders", fact.source, fact.relation, object),
            lambda: source.neighbours(fact.relation, object, POOL) if source else (),
        )

    def pool(self, fact: Fact) -> tuple[Triple, ...]:
        """Subjects of the fact's relation, whatever they have."""
        source = self.sources.get(fact.source)
        return self._once(
            ("pool", fact.source, fact.relation),
            lambda: (
                (source.neighbours(fact.relation, None, POOL) if source else ())
                or self._of_relation(fact.relation)
            ),
        )

    def others(self, fact: Fact) -> tuple[Triple, ...]:
        """What is known of the fact's subject."""
        source = self.sources.get(fact.source)
        return self._once(
            ("others", fact.source, fact.subject),
            lambda: (
                (source.facts_of(fact.subject, 2 * SAME_SUBJECT) if source else ())
                or self._of_subject(fact.subject)
            ),
        )

    def _once(self, question: tuple[str, ...], ask: Callable[[], tuple[Triple, ...]]) -> tuple[Triple, ...]:
        if question not in self._found:
            self._found[question] = ask()
        return self._found[question]

    def _of_relation(self, relation: str) -> tuple[Triple, ...]:
        """Facts of the ledger that the base states, if there are enough of them, else others as well."""
        with self.state.read() as tx:
            wanted = tx.facts(status="wanted", relation=relation, limit=10 * POOL)
        known = [fact for fact in wanted if fact.id in self.known]
        others = [fact for fact in wanted if fact.id not in self.known]
        lacking = max(0, NEIGHBOURS + 1 - len(known))
        return tuple(_triple(fact) for fact in (*known[:POOL], *others[:lacking]))

    def _of_subject(self, subject: str) -> tuple[Triple, ...]:
        with self.state.read() as tx:
            wanted = tx.facts(status="wanted", subject=subject)
        return tuple(_triple(fact) for fact in wanted[: 2 * SAME_SUBJECT])


def _triple(fact: Fact) -> Triple:
    return Triple(Named(fact.subject, fact.subject_label), fact.relation, Named(fact.object, fact.target))


def _replaced(tx: Snapshot, fact: Fact) -> str | None:
    """The object that the slot held before `fact`."""
    slot = (fact.subject, fact.relation)
    others = [old for old in tx.facts_of([slot]).get(slot, ()) if old.object != fact.object]
    previous = previous_value(fact, others)
    return None if previous is None else previous.object


def _neighbours(
    fact: Fact, replaced: str | None, asked: _Asked, catalogue: Catalogue, policy: Policy
) -> list[Probe]:
    """Other subjects of the relation: those that share the replaced object first, then some by lot."""
    found = _drawn(fact, asked.holders(fact, replaced)) if replaced is not None else []
    if len(found) < NEIGHBOURS:
        found += _drawn(fact, asked.pool(fact))
    others = [triple for triple in found if triple.subject.id != fact.subject]
    probes = (_probe("neighbour", triple, catalogue, policy) for triple in others)
    return _first(probes, NEIGHBOURS)


def _drawn(fact: Fact, pool: Iterable[Triple]) -> list[Triple]:
    """`pool` in an order of the fact's own: facts of one relation draw different neighbours from it."""
    return sorted(
        pool, key=lambda triple: hashlib.sha256(f"{fact.key} {triple.subject.id}".encode()).digest()
    )


def _same_subject(fact: Fact, asked: _Asked, catalogue: Catalogue, policy: Policy) -> list[Probe]:
    others = [triple for triple in asked.others(fact) if triple.relation != fact.relation]
    return _first((_probe("same_subject", triple, catalogue, policy) for triple in others), SAME_SUBJECT)


def _probe(
    kind: Literal["neighbour", "same_subject"], triple: Triple, catalogue: Catalogue, policy: Policy
) -> Probe | None:
    """The triple as a question; None if it cannot be asked (no label, a flawed one, no template)."""
    relation = catalogue.get(triple.relation)
    subject, target = triple.subject.label, triple.object.label
    if relation is None or subject is None or target is None:
        return None
    subject, target = labels.clean(subject), labels.clean(target)
    if any(labels.flaw(text, policy.label_max, policy.label_scripts) for text in (subject, target)):
        return None
    prompt = render(relation.template, subject)
    return (
        Probe("neighbour", prompt, target) if kind == "neighbour" else Probe("same_subject", prompt, target)
    )


def _aliases(fact: Fact, subject: Entity | None, policy: Policy) -> list[Probe]:
    """The fact asked by the subject's other names: paraphrases that have to hold."""
    names = dict.fromkeys(labels.clean(alias) for alias in (subject.aliases if subject else ()))
    taken = fold(fact.subject_label)
    sound = (
        name
        for name in names
        if fold(name) != taken and not labels.flaw(name, policy.label_max, policy.label_scripts)
    )
    return _first((Probe("alias", render(fact.template, name), fact.target) for name in sound), ALIASES)


def _unambiguous(tx: Transaction, fact: Fact, probes: list[Probe]) -> list[Probe]:
    """Without aliases that are another watched subject's prompt: there the right answer is another."""
    keys = {probe.prompt: prompt_key(probe.prompt) for probe in probes if probe.kind == "alias"}
    taken = tx.slots_with_prompt_keys(keys.values())
    return [
        probe
        for probe in probes
        if probe.kind != "alias" or all(s.subject == fact.subject for s in taken.get(keys[probe.prompt], ()))
    ]


def _first(probes: Iterable[Probe | None], most: int) -> list[Probe]:
    """The first `most` distinct ones."""
    distinct: dict[str, Probe] = {}
    for probe in probes:
        if probe is not None:
            distinct.setdefault(probe.prompt, probe)
        if len(distinct) == most:
            break
    return list(distinct.values())
