"""Conversion between CURIEs (`wd:Q30`) and IRIs (`http://www.wikidata.org/entity/Q30`).

Ids in kbsync are CURIEs (W3C CURIE Syntax 1.0) because they are easy to read.  Prefixes are settings,
so that any Wikibase or other graph can use its own namespaces.
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
"""Forbidden in IRIs by RFC 3987 and by SPARQL 1.1 (IRIREF); an IRI without them cannot inject SPARQL."""


class Namespaces:
    """Maps CURIEs to IRIs and back.  When compacting, the longest matching IRI wins."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        for prefix, iri in prefixes.items():
            if _NOT_IN_IRIS.search(iri) or ":" not in iri:
                raise SourceSettingsError(f"prefixes.{prefix}: {iri!r} is not an absolute IRI")
        self._iri_of = dict(prefixes)
        self._by_length = sorted(self._iri_of.items(), key=lambda item: -len(item[1]))

    def expand(self, curie: str) -> str:
        """The IRI of a CURIE; an absolute IRI outside the known namespaces is returned unchanged.

        Raises SourceDataError for anything else, and for characters that IRIs may not contain.
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
            raise SourceDataError(f"{curie!r} contains characters that are not allowed in an IRI")
        return iri

    def knows(self, curie: str) -> bool:
        """Whether the CURIE's prefix is known."""
        return curie.partition(":")[0] in self._iri_of

    def expands(self, id: str) -> bool:
        """Whether `expand` returns an IRI for `id`."""
        try:
            self.expand(id)
        except SourceDataError:
            return False
        return True

    def compact(self, iri: str) -> str:
        """The CURIE of an IRI, or the IRI itself if no prefix matches."""
        for prefix, start in self._by_length:
            if iri.startswith(start) and len(iri) > len(start):
                return f"{prefix}:{iri[len(start) :]}"
        return iri
