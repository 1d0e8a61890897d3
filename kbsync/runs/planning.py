"""From what is wanted to what is built: the decision to run, the view, and the spec of a build.

`decide` is pure.  A run is worth starting when the facts that change weights differ between what is
wanted and what is live; facts that the base already knows are in the view as probes and start nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from editing.requests import prompt_key, render
from editing.spec import Case, FactSpec
from kbsync.catalogue import wordings
from kbsync.catalogue.relations import Catalogue
from kbsync.settings.sections import PlanSettings, ReviewSettings
from state.records import Fact, Probe


@dataclass(frozen=True, slots=True)
class Plan:
    """A view worth building."""

    facts: tuple[Fact, ...]
    """The view, sorted by key: edited and known facts."""
    new: tuple[Fact, ...]
    """Edited facts that live does not have."""
    removed: tuple[Fact, ...]
    """Facts live was edited with that are wanted no more: leaving them out un-edits them."""
    waiting: tuple[Fact, ...]
    """Wanted, but beyond the base's capacity."""
    known: frozenset[int]
    """Ids of the facts that the base states unedited."""


@dataclass(frozen=True, slots=True)
class NothingToDo:
    reason: str
    waiting: tuple[Fact, ...] = ()


def decide(
    wanted: Sequence[Fact],
    live: Sequence[Fact] | None,
    known: Mapping[int, bool],
    settings: PlanSettings,
    now: datetime,
    *,
    asked: bool,
    rebuilt: bool = False,
) -> Plan | NothingToDo:
    """What to build, or why nothing is built.

    Beyond the capacity, facts of higher priority come first, then those that live states, then those that
    have been wanted for longest.

    `live` is the view of the live checkpoint (None: there is none yet); `known` maps fact ids to whether
    the base states them; `asked` says that an operator wants the run now, whatever the thresholds say.
    So does a fact of live that a person has rejected; and `rebuilt`: live was built from another base, or
    is to be built again.
    """
    known_ids = frozenset(fact.id for fact in wanted if known.get(fact.id, False))
    live_ids = {fact.id for fact in live or ()}
    edits = sorted(
        (fact for fact in wanted if fact.id not in known_ids),
        key=lambda f: (-f.priority, f.id not in live_ids, f.since, f.key),
    )
    edited, waiting = edits[: settings.capacity], tuple(edits[settings.capacity :])
    view = tuple(sorted((*edited, *(fact for fact in wanted if fact.id in known_ids)), key=lambda f: f.key))
    edited_ids = {fact.id for fact in edited}
    new = tuple(fact for fact in edited if fact.id not in live_ids)
    removed = tuple(
        fact for fact in live or () if fact.id not in edited_ids and not known.get(fact.id, False)
    )
    pending = len(new) + len(removed)
    if (live is None and view) or (live is not None and rebuilt):
        return Plan(view, new, removed, waiting, known_ids)
    if pending == 0:
        return NothingToDo("live already holds every wanted fact that fits", waiting)
    oldest = min(fact.since for fact in (*new, *removed))
    urgent = any(fact.decision == "rejected" for fact in removed)
    # An instant later than now was written by a clock that was ahead: it has waited long enough.
    waited = oldest > now or now - oldest >= settings.max_wait
    if not (asked or urgent or waited) and pending < settings.min_pending:
        return NothingToDo(
            f"{pending} changes are pending; a run starts at {settings.min_pending}, "
            f"or when the oldest has waited {settings.max_wait}",
            waiting,
        )
    return Plan(view, new, removed, waiting, known_ids)


def withdrawal(wanted: Sequence[Fact], live: Sequence[Fact] | None, known: Mapping[int, bool]) -> Plan | None:
    """The smallest change that takes out of live what nobody wants any more; None if there is nothing to take.

    A fact that has a successor stays until that takes its place.
    """
    ids = {fact.id for fact in wanted}
    slots = {(fact.subject, fact.relation) for fact in wanted}
    removed = tuple(
        fact
        for fact in live or ()
        if fact.id not in ids and (fact.subject, fact.relation) not in slots and not known.get(fact.id, False)
    )
    if not removed:
        return None
    gone = {fact.id for fact in removed}
    rest = tuple(sorted((fact for fact in live or () if fact.id not in gone), key=lambda fact: fact.key))
    return Plan(rest, (), removed, (), frozenset(fact.id for fact in rest if known.get(fact.id, False)))


WITHDRAWAL = "withdrawal"
"""Trigger of a run that only takes out of live what was withdrawn: it waits for no reviewer."""


def review_needed(settings: ReviewSettings, new: Sequence[Fact]) -> bool:
    """Whether a person approves a candidate that newly states `new` before it goes live."""
    return settings.required or any(fact.relation in settings.relations for fact in new)


def fact_spec(
    fact: Fact,
    catalogue: Catalogue,
    settings: PlanSettings,
    *,
    known: bool | None,
    base_answer: str | None = None,
    in_live: bool,
    previous: str | None,
    probes: Collection[Probe],
    edited: Collection[str] = (),
) -> FactSpec:
    """The fact as the worker sees it, with the probes that were stored for it when it was admitted.

    A neighbour or other relation has to be answered as the base answers it, right or wrong; one that is
    itself `edited` in this view (a set of prompt keys) is no probe: it is to change.
    """

    def cases(kind: str, most: int) -> tuple[Case, ...]:
        chosen = [p for p in probes if p.kind == kind and prompt_key(p.prompt) not in edited]
        return tuple(Case(probe.prompt) for probe in chosen[:most])

    # A relation that is in no catalogue any more has the template that the fact is pinned to.
    relation = catalogue.get(fact.relation)
    templates = [t for t in relation.templates if t != fact.template] if relation else []
    variants, unseen = templates[: settings.variants], templates[settings.variants :]
    aliases = [probe for probe in probes if probe.kind == "alias"]
    reversed_edit, reversed_cases = (
        wordings.reversed_fact(fact, relation) if relation and not known else ((), ())
    )
    paraphrases = [
        *(render(template, fact.subject_label) for template in unseen),
        *(probe.prompt for probe in aliases[settings.aliases :]),
    ]
    return FactSpec(
        id=str(fact.id),
        prompt=fact.template,
        subject=fact.subject_label,
        target=fact.target,
        previous=previous,
        known=known,
        base_answer=base_answer,
        in_live=in_live,
        variants=tuple(variants),
        further=(*wordings.renamed(fact, aliases, settings.aliases), *reversed_edit),
        paraphrases=tuple(p for p in paraphrases if p != fact.prompt)[: settings.paraphrases],
        reversed=reversed_cases,
        neighbours=cases("neighbour", settings.neighbours),
        same_subject=cases("same_subject", settings.same_subject),
    )
