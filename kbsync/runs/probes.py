"""Probes of a new fact: neighbours, the subject's other facts, and its other names.

They are fetched from the source once, when the fact is new, and stored with it, so that every later gate asks
the same questions.  Neighbours share the relation and the object that the fact replaces (or else only the
relation): an edit that is too broad would change these first.

Only reliable facts are used (`probe_triples`): those that the ledger wants, and those that the base states.

Facts are processed in batches, to send few requests to a public endpoint: one for each relation and replaced
object, one for each relation, one for each subject.  If a source cannot be queried (a drop folder), probes are
taken from the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from connectors.observations import Entity, Triple
from editing.folding import fold
from editing.progress import TimedProgress, silent
from editing.requests import prompt_key, render
from kbsync.admission.policy import Policy
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Catalogue
from kbsync.errors import KbsyncError
from kbsync.intake.forgotten import triples_without_forgotten
from kbsync.intake.source import Source
from kbsync.runs.probe_triples import (
    ProbeTriple,
    ProbeTripleKind,
    States,
    nothing_known,
    probe_triple,
    sort_out,
)
from state.errors import StateError
from state.fact_queries import previous_value
from state.ledger import Snapshot, State, Transaction
from state.records import Fact, Probe, StoredEntity
from state.transaction import chunks

NEIGHBOURS = 10
SAME_SUBJECT = 10
ALIASES = 5
"""Number of probes of each kind that are stored with a fact; the planner uses as many as its settings allow."""

PAGE = 100
"""Number of facts whose probes are fetched, and whose probe triples the base is asked about, at a time."""
SPARE = 2
"""How many times more candidates are fetched than are kept, since some of them are not reliable."""

POOL = 100
"""Number of triples of one relation, or of one relation and object, from which neighbours are drawn."""


@dataclass(frozen=True)
class Gatherer:
    """Fetches probes from the sources and stores them."""

    state: State
    sources: Mapping[str, Source]
    catalogue: Catalogue
    policy: Policy
    write: Callable[[], AbstractContextManager[Transaction]]
    """Opens the leader's transactions."""
    states: States = nothing_known
    """Asks the base which triples it states."""

    def gather(
        self,
        facts: Iterable[Fact],
        known: Collection[int] = (),
        progress: TimedProgress = silent,
    ) -> dict[str, str]:
        """Fetch and store the probes of those `facts` that have none yet.

        `known`: ids of facts that the base states.  Among facts of the ledger they are preferred, since a fact that is
        itself edited cannot be a probe.  Each source is queried outside any transaction and within one deadline.

        Returns, by name, why sources could not be queried; their facts are left without probes, and the next call
        queries those sources again.
        """
        with self.state.read() as tx:
            bare = [fact for fact in facts if not tx.probes(fact.id)]
        asked = _Asked(self.state, self.sources, known)
        trouble: dict[str, str] = {}
        done = 0
        progress("probes", 0, len(bare), None)
        for name, page in _pages(bare):
            if name in trouble:
                continue
            try:
                with asked.of(name):
                    drafts = [self._draft(fact, asked) for fact in page]
            except (StateError, KbsyncError):
                raise  # the ledger's or the leader's trouble
            except Exception as error:  # noqa: BLE001  whatever a connector raises, the other sources are asked
                trouble[name] = f"{type(error).__name__}: {error}"
                continue
            self._keep(drafts)
            done += len(page)
            progress("probes", done, len(bare), None)
        return trouble

    def _draft(self, fact: Fact, asked: _Asked) -> _Draft:
        with self.state.read() as tx:
            subject = tx.entities([fact.subject]).get(fact.subject)
            replaced = _replaced(tx, fact)
        neighbours = _neighbours(fact, replaced, asked)
        others = [triple for triple in asked.others(fact) if triple.relation != fact.relation]
        return _Draft(
            fact,
            _aliases(fact, subject, self.policy),
            self._probe_triples("neighbour", neighbours, NEIGHBOURS),
            self._probe_triples("same_subject", others, SAME_SUBJECT),
        )

    def _probe_triples(
        self, kind: ProbeTripleKind, triples: Iterable[Triple], most: int
    ) -> list[ProbeTriple]:
        """The first distinct questions of `triples`, with some spare ones."""
        distinct: dict[str, ProbeTriple] = {}
        for triple in triples:
            asked = probe_triple(kind, triple, self.catalogue, self.policy)
            if asked is not None:
                distinct.setdefault(asked.prompt, asked)
        return list(distinct.values())[: SPARE * most]

    def _keep(self, drafts: Sequence[_Draft]) -> None:
        with self.state.read() as tx:
            vouched, unwatched = sort_out(tx, (one for draft in drafts for one in draft.triples()))
        stated = self.states(unwatched) if unwatched else ()
        good = vouched | {one for one, yes in zip(unwatched, stated, strict=True) if yes}
        with self.write() as tx:
            for draft in drafts:
                tx.put_probes(draft.fact.id, draft.probes(tx, good))


@dataclass(frozen=True, slots=True)
class _Draft:
    """Candidates that could judge one fact, before it is known which are reliable."""

    fact: Fact
    aliases: list[Probe]
    neighbours: list[ProbeTriple]
    same_subject: list[ProbeTriple]

    def triples(self) -> Iterator[ProbeTriple]:
        yield from (*self.neighbours, *self.same_subject)

    def probes(self, tx: Transaction, good: Collection[ProbeTriple]) -> list[Probe]:
        neighbours = [one.probe() for one in self.neighbours if one in good][:NEIGHBOURS]
        same_subject = [one.probe() for one in self.same_subject if one in good][:SAME_SUBJECT]
        return [*_unambiguous(tx, self.fact, self.aliases), *neighbours, *same_subject]


def _pages(facts: Iterable[Fact]) -> Iterator[tuple[str, list[Fact]]]:
    """The facts of each source, a page at a time."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.source, []).append(fact)
    for name, group in groups.items():
        yield from ((name, page) for page in chunks(group, PAGE))


@dataclass
class _Asked:
    """Answers in this batch, from a source or else from the ledger: nothing is queried twice."""

    state: State
    sources: Mapping[str, Source]
    known: Collection[int]
    _found: dict[tuple[str, ...], tuple[Triple, ...]] = field(default_factory=dict)

    def of(self, name: str) -> AbstractContextManager[None]:
        """All queries about facts of one source share its deadline."""
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
        """Subjects of the fact's relation, with any object."""
        source = self.sources.get(fact.source)
        return self._once(
            ("pool", fact.source, fact.relation),
            lambda: (
                (source.neighbours(fact.relation, None, POOL) if source else ())
                or self._of_relation(fact.relation)
            ),
        )

    def others(self, fact: Fact) -> tuple[Triple, ...]:
        """Known facts about the fact's subject."""
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
            found = ask()
            with self.state.read() as tx:
                self._found[question] = triples_without_forgotten(tx, found)
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
    return Triple(Entity(fact.subject, fact.subject_label), fact.relation, Entity(fact.object, fact.target))


def _replaced(tx: Snapshot, fact: Fact) -> str | None:
    """The object of the slot before `fact`."""
    slot = (fact.subject, fact.relation)
    previous = previous_value(fact, tx.facts_of([slot]).get(slot, ()))
    return None if previous is None else previous.object


def _neighbours(fact: Fact, replaced: str | None, asked: _Asked) -> list[Triple]:
    """Other subjects of the relation: those that share the replaced object first, then a pseudo-random sample."""
    found = _drawn(fact, asked.holders(fact, replaced)) if replaced is not None else []
    if len(found) < SPARE * NEIGHBOURS:
        found += _drawn(fact, asked.pool(fact))
    return [triple for triple in found if triple.subject.id != fact.subject]


def _drawn(fact: Fact, pool: Iterable[Triple]) -> list[Triple]:
    """`pool` in an order that depends on the fact, so that facts of one relation get different neighbours."""
    return sorted(
        pool, key=lambda triple: hashlib.sha256(f"{fact.key} {triple.subject.id}".encode()).digest()
    )


def _aliases(fact: Fact, subject: StoredEntity | None, policy: Policy) -> list[Probe]:
    """The fact asked with the subject's other names: paraphrases that must be answered with its object."""
    names = dict.fromkeys(labels.clean(alias) for alias in (subject.aliases if subject else ()))
    taken = fold(fact.subject_label)
    sound = (
        name
        for name in names
        if fold(name) != taken and not labels.flaw(name, policy.label_max, policy.label_scripts)
    )
    named = {render(fact.template, name): name for name in sound}
    return [Probe("alias", prompt, fact.target, name) for prompt, name in named.items()][:ALIASES]


def _unambiguous(tx: Transaction, fact: Fact, aliases: list[Probe]) -> list[Probe]:
    """Without aliases that equal another watched subject's prompt, since that has another answer."""
    keys = {probe.prompt: prompt_key(probe.prompt) for probe in aliases}
    taken = tx.slots_with_prompt_keys(keys.values())
    return [
        probe
        for probe in aliases
        if all(slot.subject == fact.subject for slot in taken.get(keys[probe.prompt], ()))
    ]
