"""Settings of a Wikibase that is read over SPARQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pydantic
from pydantic import ConfigDict, Field

from connectors.durations import Duration
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.settings import HttpSettings, HttpUrl, SparqlAccess
from connectors.wikidata.vocabulary import Vocabulary


class PropertyIds(pydantic.BaseModel):
    """Ids of the properties that statements are judged by; other Wikibases have ids of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = "P580"
    end: str = "P582"
    instance_of: str = "P31"
    subclass_of: str = "P279"
    death: str = "P570"
    human: str = Field(default="wd:Q5", description="CURIE of the class of humans")


_WIKIDATA_IDS = PropertyIds()
WIKIDATA_PROPERTIES = "http://www.wikidata.org/prop/"


def vocabulary_of(
    prefixes: Mapping[str, str] = MappingProxyType({}),
    property_base: str = WIKIDATA_PROPERTIES,
    properties: PropertyIds = _WIKIDATA_IDS,
) -> Vocabulary:
    """The IRIs of a Wikibase, by default Wikidata's.  Raises SourceSettingsError for a prefix that is no IRI."""
    return Vocabulary(
        namespaces=Namespaces({**WIKIDATA, **prefixes}),
        property_base=property_base,
        start=properties.start,
        end=properties.end,
        instance_of=properties.instance_of,
        subclass_of=properties.subclass_of,
        human=properties.human,
        death=properties.death,
    )


class WatchSettings(HttpSettings, SparqlAccess):
    """One watch list at one SPARQL endpoint."""

    more_endpoints: tuple[HttpUrl, ...] = Field(
        (), description="Endpoints with other parts of the same graph, such as Wikidata's scholarly one"
    )
    subjects: tuple[str, ...] = Field((), description="Subjects to watch, as CURIEs")
    subjects_file: Path | None = Field(None, description="File with one subject per line; # starts a comment")
    subjects_query: str | None = Field(
        None, description="SPARQL query that selects the subjects, with one variable"
    )
    subjects_classes: tuple[str, ...] = Field(
        (), description="Classes whose instances are watched, as CURIEs; subclasses are included"
    )
    subjects_every: Duration = Field(
        timedelta(0), description="How long what the query and the classes selected is used again; 0: never"
    )
    relations: tuple[str, ...] = Field((), description="Relations to watch; empty: the catalogue's")
    prefixes: dict[str, str] = Field({}, description="Prefixes besides wd:, wds:, wdt: and p:")
    property_base: str = Field(WIKIDATA_PROPERTIES, description="What property IRIs start with")
    properties: PropertyIds = Field(
        _WIKIDATA_IDS,
        description="Ids of start, end, instance_of and death, and the class human, where they are not Wikidata's",
    )
    languages: tuple[str, ...] = Field(("en", "mul"), min_length=1, description="Label languages, best first")
    overlap: Duration = Field(
        timedelta(minutes=15), description="How far back each poll looks again: replicas lag"
    )
    watch_labels: bool = Field(True, description="Poll the labels of objects in use as well")
    versions_per_request: int = Field(500, ge=1, description="Subjects per version request")
    slots_per_step: int = Field(
        400, ge=1, description="Approximate number of slots read and committed per step"
    )
    max_vanished: float = Field(
        0.05, ge=0, le=1, description="Maximum share of the watch list that may vanish at once"
    )

    @pydantic.model_validator(mode="after")
    def _one_way_to_watch(self) -> WatchSettings:
        if not (self.subjects or self.subjects_file or self.selects):
            raise ValueError(
                "nothing to watch: give `subjects`, `subjects_file`, `subjects_query` or `subjects_classes`"
            )
        return self

    @property
    def selects(self) -> bool:
        """Whether the endpoint says what is watched, so that the list changes by itself."""
        return bool(self.subjects_query or self.subjects_classes)

    def vocabulary(self) -> Vocabulary:
        """Raises SourceSettingsError for a prefix that is no IRI."""
        return vocabulary_of(self.prefixes, self.property_base, self.properties)


class WikidataSettings(WatchSettings):
    """A watch list that is polled."""

    kind: Literal["wikidata"]
