"""Choose a slot's value from the statements of several sources.

Sources without a current value abstain.  Of the others, those with the highest priority decide, and they
have to agree.  Values that a reviewer has rejected are left out; an approved value is chosen even if
other values are stated too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from connectors.current import Absence
from connectors.observations import Statement
from editing.folding import fold
from kbsync.admission.history import History
from kbsync.admission.policy import Policy, Rules
from kbsync.admission.timeline import NEVER, Standing, standings
from kbsync.admission.verdicts import Value
from state.records import StoredEntity

Clash = Literal["several", "sources", "rejected"]
"""Why no stated value is chosen: one source states several, sources disagree, or all were rejected."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One value that a source states, with the figures by which it is judged."""

    value: Value
    rules: Rules
    since: datetime
    """Since when the source's statements have been unchanged."""
    flips: int
    references: int

    @property
    def settles(self) -> datetime:
        """When the value has been unchanged for long enough."""
        rules = self.rules
        return self.since + (
            rules.settle_with_reference if self.references else rules.settle_without_reference
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The combined statements of all sources about a slot."""

    offer: Offer | None = None
    """The chosen value, if there is one."""
    values: tuple[Value, ...] = ()
    """The deciding sources' values that no reviewer has rejected, one for each object."""
    clash: Clash | None = None
    stated: frozenset[str] = frozenset()
    """Objects that any source states as current or upcoming, whatever its priority, rejected ones included."""
    upcoming: tuple[Value, datetime] | None = None
    """If there is no current value: the value that begins later, and when."""
    absence: Absence = "removed"
    """If there is no current value: the reason."""
    since: datetime = NEVER
    """When a deciding source (if there is no current value: any source) last changed."""
    settles: datetime = NEVER
    """When all values have been unchanged for long enough."""
    recheck: datetime | None = None
    """When this choice may change without a new statement."""


def choose_value(policy: Policy, history: History, now: datetime) -> Choice:
    """The choice for one slot; pure."""
    relation = history.slot.relation
    rules = {o.source: policy.rules(o.source, relation) for o in history.observations}
    windows = {source: rule.flip_window for source, rule in rules.items()}
    stands = standings(history.observations, now, windows, bootstrap=history.bootstrap)
    recheck = min((s.current.next_change for s in stands if s.current.next_change), default=None)
    stated = _stated(stands)
    if not any(stand.current.values for stand in stands):
        since = max(stand.since for stand in stands)
        silent = _of_highest_priority(stands, rules)
        absence = silent[0].current.absence or "removed"
        upcoming = _upcoming(history, silent, rules)
        return Choice(stated=stated, upcoming=upcoming, absence=absence, since=since, recheck=recheck)
    offers = [offer for stand in stands for offer in _offers(history, stand, rules[stand.source])]
    if not offers:
        return Choice(clash="rejected", stated=stated, recheck=recheck)
    top = max(offer.rules.priority for offer in offers)
    offers = [offer for offer in offers if offer.rules.priority == top]
    values = tuple({offer.value.object: offer.value for offer in offers}.values())
    offer, clash = _one_of(history, offers)
    return Choice(
        offer,
        values,
        clash,
        stated,
        since=max(offer.since for offer in offers),
        settles=max(offer.settles for offer in offers),
        recheck=recheck,
    )


def same_meaning(mode: str, one: StoredEntity, other: StoredEntity) -> bool:
    """Whether two entities' names are so alike that replacing one by the other does not change the fact.

    `mode` is the setting `same_meaning`: the labels must be equal, or one's label an alias of the other.
    """
    if mode == "off" or one.label is None or other.label is None:
        return False
    first, second = fold(one.label), fold(other.label)
    if first == second:
        return True
    if mode == "label":
        return False
    return first in map(fold, other.aliases) or second in map(fold, one.aliases)


def _stated(stands: Sequence[Standing]) -> frozenset[str]:
    slots = [stand.current for stand in stands]
    statements = (one for slot in slots for one in (*slot.values, *slot.upcoming))
    return frozenset(one.object.id for one in statements if one.object is not None)


def _offers(history: History, stand: Standing, rules: Rules) -> list[Offer]:
    """The values that one source states, without those that a reviewer has rejected."""
    return [
        Offer(_value(history, stand, one, rules), rules, stand.since, stand.flips, one.references)
        for one in stand.current.values
        if one.object is not None and not history.rejected(one.object.id)
    ]


def _one_of(history: History, offers: Sequence[Offer]) -> tuple[Offer | None, Clash | None]:
    approved = [offer for offer in offers if history.approved(offer.value)]
    for candidates in (approved, offers):
        if len({offer.value.object for offer in candidates}) == 1:
            return max(candidates, key=lambda offer: (offer.references > 0, offer.value.source)), None
    sources = [offer.value.source for offer in offers]
    if len(set(sources)) < len(sources):
        return None, "several"
    first = offers[0]
    if all(_agree(history, first, other) for other in offers[1:]):
        return next((offer for offer in offers if history.wants(offer.value.object)), first), None
    return None, "sources"


def _agree(history: History, one: Offer, other: Offer) -> bool:
    return same_meaning(
        one.rules.same_meaning, history.entity(one.value.object), history.entity(other.value.object)
    )


def _of_highest_priority(stands: Sequence[Standing], rules: Mapping[str, Rules]) -> list[Standing]:
    top = max((rules[stand.source].priority for stand in stands), default=0)
    return [stand for stand in stands if rules[stand.source].priority == top]


def _upcoming(
    history: History, stands: Sequence[Standing], rules: Mapping[str, Rules]
) -> tuple[Value, datetime] | None:
    """The value that begins later, if there is exactly one; several are ignored until they have begun."""
    later = [(stand, one) for stand in stands for one in stand.current.upcoming]
    if len({one.object.id for _, one in later if one.object is not None}) != 1:
        return None
    stand, one = min(later, key=lambda pair: (_begins(pair[1]), pair[0].source))
    value = _value(history, stand, one, rules[stand.source])
    return None if history.rejected(value.object) else (value, _begins(one))


def _begins(statement: Statement) -> datetime:
    return statement.start.first if statement.start is not None else NEVER


def _value(history: History, stand: Standing, statement: Statement, rules: Rules) -> Value:
    assert statement.object is not None  # `read` lets only statements with an object through
    identifier = statement.object.id
    return Value(
        object=identifier,
        target=history.label_of(identifier) or identifier,
        statement=statement.id,
        source=stand.source,
        revision=stand.revision,
        priority=rules.priority,
    )
