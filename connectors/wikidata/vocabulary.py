"""IRIs of a Wikibase's RDF data ("Wikibase/Indexing/RDF Dump Format").

`wdt:P6` names a relation.  Its statements hang on `p:P6`, their values on `ps:P6`, qualifiers on
`pq:P6`, and `a wdno:P6` says that there is no value.  All of these follow from one base IRI.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from connectors.errors import SourceSettingsError
from connectors.namespaces import Namespaces

SCHEMA = "http://schema.org/"
WIKIBASE = "http://wikiba.se/ontology#"
RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
ALT_LABEL = "http://www.w3.org/2004/02/skos/core#altLabel"
SAME_AS = "http://www.w3.org/2002/07/owl#sameAs"
DERIVED_FROM = "http://www.w3.org/ns/prov#wasDerivedFrom"
DATE_TIME = "http://www.w3.org/2001/XMLSchema#dateTime"
SOME_VALUE = "/.well-known/genid/"
"""The query service's IRIs for blank nodes ("some value") contain it (RDF 1.1 Concepts, section 3.5)."""


@dataclass(frozen=True)
class Vocabulary:
    """The IRIs of one Wikibase."""

    namespaces: Namespaces
    property_base: str
    start: str
    end: str
    instance_of: str
    subclass_of: str
    human: str
    death: str
    """Property ids (`P580`) and the CURIE of the class of humans; other Wikibases have ids of their own."""

    def property_id(self, relation: str) -> str:
        """`P6` of `wdt:P6`.  Raises SourceSettingsError when the CURIE is no direct property here."""
        iri = self.namespaces.expand(relation)
        direct = self.property_base + "direct/"
        if not iri.startswith(direct):
            raise SourceSettingsError(
                f"relations: {relation!r} is <{iri}>, which does not start with <{direct}>; "
                "give the relation's direct property, or set `property_base` and `prefixes`"
            )
        return iri[len(direct) :]

    def has(self, relation: str) -> bool:
        """Whether the CURIE is a direct property here."""
        return self.namespaces.knows(relation) and self.namespaces.expand(relation).startswith(
            self.property_base + "direct/"
        )

    def claim(self, pid: str) -> str:
        return self.property_base + pid

    def direct(self, pid: str) -> str:
        """The property that leads to the values of best rank."""
        return f"{self.property_base}direct/{pid}"

    def value(self, pid: str) -> str:
        return f"{self.property_base}statement/{pid}"

    def qualifier(self, pid: str) -> str:
        return f"{self.property_base}qualifier/{pid}"

    def qualifier_value(self, pid: str) -> str:
        """Leads to a value node, which has the precision that the simple value of `qualifier` lacks."""
        return f"{self.property_base}qualifier/value/{pid}"

    def no_value(self, pid: str) -> str:
        return f"{self.property_base}novalue/{pid}"

    @cached_property
    def human_iri(self) -> str:
        return self.namespaces.expand(self.human)
