"""What a new fact will be judged by: neighbours, the subject's other facts, and its other names.

Fetched from the source once, when the fact is new, and stored with it, so that every later gate asks
the same questions.  Neighbours share the relation and the object that the fact replaces (else the
relation alone): what an edit that is too broad would move first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from connectors.observations import Connector, Triple
from editing.requests import prompt_key, render
from kbsync import labels
from kbsync.policy import Policy
from kbsync.relations import Catalogue
from state.ledger import Snapshot, State, Transaction
from state.records import Entity, Fact, Probe

NEIGHBOURS = 10
SAME_SUBJECT = 10
ALIASES = 5
"""How many of each kind are stored with a fact; the planner uses as many as its settings say."""


def gather(
    state: State,
    connectors: Mapping[str, Connector],
    catalogue: Catalogue,
    policy: Policy,
    facts: Iterable[Fact],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Fetches and stores the probes of those `facts` that have none yet; returns how many were served.

    The source is asked outside any transaction.  Raises what its connector raises: what was stored
    before that stays, and the next call goes on from there.
    """
    with state.read() as tx:
        bare = [fact for fact in facts if not tx.probes(fact.id)]
        subjects = tx.entities({fact.subject for fact in bare})
        replaced = {fact.id: _replaced(tx, fact) for fact in bare}
    for done, fact in enumerate(bare):
        connector = connectors.get(fact.source)
        probes = _aliases(fact, subjects.get(fact.subject), policy)
        if connector is not None:
            probes += _neighbours(fact, replaced[fact.id], connector, catalogue, policy)
            probes += _same_subject(fact, connector, catalogue, policy)
        with state.write() as tx:
            tx.put_probes(fact.id, _unambiguous(tx, fact, probes))
        progress(done + 1, len(bare))
    return len(bare)


def _replaced(tx: Snapshot, fact: Fact) -> str | None:
    """The object that the slot held before `fact`."""
    slot = (fact.subject, fact.relation)
    gone = [
        old
        for old in tx.facts_of([slot]).get(slot, ())
        if old.object != fact.object
        and old.status in ("superseded", "retracted")
        and old.updated <= fact.updated
    ]
    return max(gone, key=lambda old: (old.updated, old.id)).object if gone else None


def _neighbours(
    fact: Fact, replaced: str | None, connector: Connector, catalogue: Catalogue, policy: Policy
) -> list[Probe]:
    """Other subjects of the relation: those that share the replaced object first."""
    found: list[Triple] = []
    if replaced is not None:
        found.extend(connector.neighbours(fact.relation, replaced, NEIGHBOURS + 1))
    if len(found) < NEIGHBOURS:
        found.extend(connector.neighbours(fact.relation, None, 2 * NEIGHBOURS))
    others = [triple for triple in found if triple.subject.id != fact.subject]
    probes = (_probe("neighbour", triple, catalogue, policy) for triple in others)
    return _first(probes, NEIGHBOURS)


def _same_subject(fact: Fact, connector: Connector, catalogue: Catalogue, policy: Policy) -> list[Probe]:
    found = connector.facts_of(fact.subject, 2 * SAME_SUBJECT)
    others = [triple for triple in found if triple.relation != fact.relation]
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
    taken = labels.fold(fact.subject_label)
    sound = (
        name
        for name in names
        if labels.fold(name) != taken and not labels.flaw(name, policy.label_max, policy.label_scripts)
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
