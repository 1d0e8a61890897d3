"""The settings of admission: which values are accepted, and when.

`Rules` are the settings that may differ by relation and by source; `Policy` holds the general
ones, the overrides and the deny-lists.  An override names only what it changes:

    [policy]
    settle_with_reference = "24h"

    [policy.relations."wdt:P169"]
    settle_without_reference = "7d"

    [policy.sources.crm]
    settle_without_reference = "0s"
    priority = 10

A source's override is applied after its relation's.  `docs/admission.md` describes the verdicts
that they lead to.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from connectors.durations import Duration


class Rules(BaseModel):
    """Settings that can be overridden for one relation or one source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settle_with_reference: Duration = Field(
        timedelta(hours=24),
        description="how long a value with a reference must stay unchanged at its source to be accepted",
    )
    settle_without_reference: Duration = Field(
        timedelta(hours=72), description="the same for a value without a reference"
    )
    settle_ended: Duration = Field(
        timedelta(hours=24),
        description="how long a slot must stay without a value before its fact is retracted",
    )
    settle_label: Duration = Field(
        timedelta(hours=24),
        description="how long a new label must stay unchanged before a fact is edited again with it",
    )
    min_references: int = Field(
        0, ge=0, description="minimum number of references; a value with fewer is quarantined"
    )
    max_flips: int = Field(
        2,
        ge=0,
        description="returns to an earlier value within flip_window; with more, the value is quarantined",
    )
    flip_window: Duration = Field(
        timedelta(days=30), description="period in which returns to an earlier value are counted"
    )
    label_max: int = Field(80, ge=1, description="maximum length of a label, in characters")
    label_scripts: tuple[str, ...] = Field(
        (),
        description="scripts that labels may use, by their Unicode names (LATIN, GREEK, …); empty: all",
    )
    same_meaning: Literal["label_or_alias", "label", "off"] = Field(
        "label_or_alias",
        description="when a new object with the label or an alias of the old one counts as unchanged",
    )
    ended: Literal["retract", "keep"] = Field(
        "retract", description="what happens to a fact whose slot no longer has a value"
    )
    living: Literal["off", "review", "on"] = Field(
        "review", description="facts about living persons: never accepted, after approval, or like any other"
    )
    priority: int = Field(
        0,
        description="if sources disagree, the highest priority decides; a full view prefers facts of higher priority",
    )


class Policy(Rules):
    """The operator's policy: general rules, overrides, deny-lists and the volume breaker."""

    deny_subjects: frozenset[str] = Field(frozenset(), description="subjects about which no facts are learnt")
    deny_relations: frozenset[str] = Field(frozenset(), description="relations of which no facts are learnt")
    deny_objects: frozenset[str] = Field(frozenset(), description="objects that are never learnt")
    max_accepted: int = Field(
        500,
        ge=1,
        description="maximum number of facts accepted in one cycle; more trip the volume breaker (not in a bootstrap)",
    )
    relations: dict[str, Rules] = Field(default_factory=dict, description="overrides by relation")
    sources: dict[str, Rules] = Field(default_factory=dict, description="overrides by source")

    _resolved: dict[tuple[str, str], Rules] = PrivateAttr(default_factory=dict)

    def rules(self, source: str, relation: str) -> Rules:
        """The rules for `relation` as stated by `source`: general, then the relation's, then the source's."""
        found = self._resolved.get((source, relation))
        if found is None:
            values = {name: getattr(self, name) for name in Rules.model_fields}
            for override in (self.relations.get(relation), self.sources.get(source)):
                if override is not None:
                    values.update({name: getattr(override, name) for name in override.model_fields_set})
            found = self._resolved[source, relation] = Rules.model_construct(**values)
        return found
