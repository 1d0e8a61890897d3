"""CURIEs and IRIs: `wd:Q30` here, `http://www.wikidata.org/entity/Q30` there.

Ids in kbsync are CURIEs (W3C CURIE Syntax 1.0) because people read them.  Prefixes are settings, so
that any Wikibase, or any other graph, names its things its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from connectors.errors import SourceDataError, SourceSettingsError

WIKIDATA: Mapping[str, str] = {
    "wd": "http://www.wikidata.org/entity/",
    "wds": "http://www.wikidata.org/entity/statement/",
    "wdt": "http://www.wikidata.org/prop/direct/",
    "p": "http://www.wikidata.org/prop/",
}
_NOT_IN_IRIS = re.compile(r'[\x00-\x20<>"{}|^`\\]')
"""RFC 3987 forbids them; SPARQL 1.1 (IRIREF) as well, so nothing can be smuggled into a query."""


class Namespaces:
    """Prefixes both ways.  The longest matching IRI wins when compacting."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        for prefix, iri in prefixes.items():
            if _NOT_IN_IRIS.search(iri) or ":" not in iri:
                raise SourceSettingsError(f"prefixes.{prefix}: {iri!r} is not an absolute IRI")
        self._iri_of = dict(prefixes)
        self._by_length = sorted(self._iri_of.items(), key=lambda item: -len(item[1]))

    def expand(self, curie: str) -> str:
        """The IRI of a CURIE; an id in no known namespace that is an absolute IRI stands for itself.

        Raises SourceDataError for anything else, or for characters that no IRI may hold.
        """
        prefix, colon, local = curie.partition(":")
        if colon and prefix in self._iri_of and not local.startswith("//"):
            iri = self._iri_of[prefix] + local
        elif "://" in curie or curie.startswith("urn:"):
            iri = curie
        else:
            known = ", ".join(sorted(self._iri_of))
            raise SourceDataError(f"{curie!r} has no known prefix (known: {known}); add it to `prefixes`")
        if _NOT_IN_IRIS.search(iri):
            raise SourceDataError(f"{curie!r} holds characters that no IRI may hold")
        return iri

    def knows(self, curie: str) -> bool:
        """Whether the CURIE's prefix has an IRI."""
        return curie.partition(":")[0] in self._iri_of

    def expands(self, id: str) -> bool:
        """Whether `expand` gives an IRI for it."""
        try:
            self.expand(id)
        except SourceDataError:
            return False
        return True

    def compact(self, iri: str) -> str:
        """The CURIE of an IRI, or the IRI itself where no prefix fits."""
        for prefix, start in self._by_length:
            if iri.startswith(start) and len(iri) > len(start):
                return f"{prefix}:{iri[len(start) :]}"
        return iri
