"""What is believed, and when: every number of admission is a setting here.

`Rules` are the numbers that may differ by relation and by source; `Policy` holds the general
ones, the overrides and the deny-lists.  An override names only what it changes:

    [policy]
    settle_with_reference = "24h"

    [policy.relations."wdt:P169"]
    settle_without_reference = "7d"

    [policy.sources.crm]
    settle_without_reference = "0s"
    priority = 10

A source's override is applied after its relation's.  The defaults are argued for in
`docs/admission.md`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from connectors.durations import Duration


class Rules(BaseModel):
    """The numbers that one relation or one source may set for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settle_with_reference: Duration = Field(
        timedelta(hours=24),
        description="how long a value with a reference must stand unchanged at its source",
    )
    settle_without_reference: Duration = Field(
        timedelta(hours=72), description="the same for a value without one"
    )
    settle_ended: Duration = Field(
        timedelta(hours=24),
        description="how long a slot must stay without value before its fact is retracted",
    )
    settle_label: Duration = Field(
        timedelta(hours=24),
        description="how long a new label must be stable before a fact is edited again under it",
    )
    min_references: int = Field(0, ge=0, description="references a value needs to be believed at all")
    max_flips: int = Field(
        2, ge=0, description="returns to an earlier value within flip_window; more: quarantine"
    )
    flip_window: Duration = Field(timedelta(days=30), description="how far back flips are counted")
    label_max: int = Field(80, ge=1, description="longest subject or object, in characters")
    label_scripts: tuple[str, ...] = Field(
        (),
        description="scripts a label may use, as Unicode names them (LATIN, GREEK, …); empty: any one a word",
    )
    same_meaning: Literal["label_or_alias", "label", "off"] = Field(
        "label_or_alias",
        description="when another item with the old one's label or alias counts as no change",
    )
    ended: Literal["retract", "keep"] = Field(
        "retract", description="what becomes of a fact whose slot has no value any more"
    )
    living: Literal["off", "review", "on"] = Field(
        "review", description="facts about living persons: never, after approval, or as any other"
    )
    priority: int = Field(
        0, description="of two sources that disagree the higher one wins; full views prefer higher facts"
    )


class Policy(Rules):
    """The operator's policy: general rules, overrides, deny-lists and the volume breaker."""

    deny_subjects: frozenset[str] = Field(frozenset(), description="subjects nothing is learnt about")
    deny_relations: frozenset[str] = Field(frozenset(), description="relations nothing is learnt of")
    deny_objects: frozenset[str] = Field(frozenset(), description="objects that are never learnt")
    max_accepted: int = Field(
        500,
        ge=1,
        description="facts accepted in one cycle; beyond it the volume breaker trips (not in bootstrap)",
    )
    relations: dict[str, Rules] = Field(default_factory=dict, description="overrides by relation")
    sources: dict[str, Rules] = Field(default_factory=dict, description="overrides by source")

    _resolved: dict[tuple[str, str], Rules] = PrivateAttr(default_factory=dict)

    def rules(self, source: str, relation: str) -> Rules:
        """What holds for `relation` as `source` states it: general, then relation's, then source's."""
        found = self._resolved.get((source, relation))
        if found is None:
            values = {name: getattr(self, name) for name in Rules.model_fields}
            for override in (self.relations.get(relation), self.sources.get(source)):
                if override is not None:
                    values.update({name: getattr(override, name) for name in override.model_fields_set})
            found = self._resolved[source, relation] = Rules.model_construct(**values)
        return found
