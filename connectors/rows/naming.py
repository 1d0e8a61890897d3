"""Normalisation of ids as rows write them, and the choice of a label among several names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from unicodedata import category

from connectors.border import shown
from connectors.errors import SourceDataError
from connectors.languages import language_rank
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.observations import LITERAL, Entity
from connectors.rows.shape import Iri, Name
from connectors.values import literal

MAX_ID = 1_000
"""Bytes of an id in UTF-8: databases index ids, and their index entries have a limit of about 2,700."""
_CURIE = re.compile(r"[A-Za-z_][\w.-]*:(?!//)\S")
_WIKIDATA_PAGE = re.compile(
    r"(?:https?://)?(?:(?:www|m)\.)?wikidata\.org/(?:wiki/(?:Special:Entity(?:Page|Data)/)?|entity/)"
    r"(?P<item>Q[0-9]+)(?:\.\w+)?(?:[?#].*)?",
    re.IGNORECASE | re.ASCII,
)
_HIDDEN = ("Cc", "Cf", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Joiners that Persian and Indic spelling needs."""


class Naming:
    """How one source's rows name things."""

    def __init__(self, namespace: str, prefixes: Mapping[str, str], languages: Sequence[str] = ()) -> None:
        """`namespace` is the prefix of ids without one; `languages` are those of labels, best first."""
        self._namespace = namespace
        self._namespaces = Namespaces({**WIKIDATA, **prefixes})
        self._prefixes = {*WIKIDATA, *prefixes, namespace} - {""}
        self._languages = languages

    def id_of(self, text: str) -> str:
        """The CURIE that `text` is, or that it becomes with `namespace`.

        Raises SourceDataError for an IRI in no known namespace, and for what no id can be made of.
        """
        id = self._curie(text)
        if len(id.encode()) > MAX_ID:
            raise SourceDataError(f"an id has more than {MAX_ID} bytes: {shown(id)}")
        if not id.isprintable() and any(category(c) in _HIDDEN and c not in _JOINERS for c in id):
            raise SourceDataError(f"an id contains a control character or an invisible one: {shown(id)}")
        return id

    def _curie(self, text: str) -> str:
        if iri := self._iri(text):
            compact = self._namespaces.compact(iri)
            if compact == iri:
                raise SourceDataError(
                    f"<{shown(iri)[1:-1]}> is not in a known namespace; add the beginning of its IRI to `prefixes`"
                )
            return compact
        if _CURIE.match(text):
            return text
        if text.partition(":")[0] in self._prefixes and ":" in text:
            raise SourceDataError(f"{shown(text)} has a prefix and no id after it")
        if not self._namespace:
            raise SourceDataError(
                f"{shown(text)} has no prefix; set `namespace` for ids without one, "
                "or `prefixes` for ids that are IRIs"
            )
        return f"{self._namespace}:{text}"

    def entity(self, text: str) -> Entity:
        """The entity of an id.  A bare id is its own label, unless some row provides a label."""
        id = self.id_of(text)
        return Entity(id, None if id == text or self._iri(text) else text)

    def value(self, text: str, labelled: bool) -> Entity:
        """The object that `text` stands for: an entity if it is an id or has a label, else a literal.

        Raises SourceDataError if the text must be an id and cannot be one.
        """
        if labelled or self._is_id(text):
            return self.entity(text)
        if len(text.encode()) > 2 * MAX_ID:
            raise SourceDataError(f"object has more than {2 * MAX_ID} bytes: {shown(text)}")
        return literal(text)

    def _is_id(self, text: str) -> bool:
        """Whether a text without a label is an id: a node, an IRI in a known namespace, or a CURIE."""
        if iri := self._iri(text):
            return isinstance(text, Iri) or self._namespaces.compact(iri) != iri
        return text.partition(":")[0] in self._prefixes and ":" in text

    @staticmethod
    def _iri(text: str) -> str | None:
        """The IRI that `text` is; addresses of pages and entities at Wikidata are those of its entities."""
        bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
        if page := _WIKIDATA_PAGE.fullmatch(bare):
            return WIKIDATA["wd"] + page["item"].upper()
        return bare if isinstance(text, Iri) or "://" in bare.partition(" ")[0] else None

    def spellings(self, id: str) -> set[str]:
        """The ways in which rows may write an id or a text: as it is, without `namespace`, as an IRI."""
        found = {id, id.removeprefix(f"{self._namespace}:"), id.removeprefix(LITERAL)}
        if self._namespaces.knows(id):
            iri = self._namespaces.expand(id)
            found |= {iri, f"<{iri}>"}
            if id.startswith("wd:Q"):
                local = id.removeprefix("wd:")
                found |= {f"https://www.wikidata.org/{page}/{local}" for page in ("wiki", "entity")}
        return found

    def better(self, known: Name | None, other: Name | None) -> Name | None:
        """The label among two names: the better language, and in it the first by code point.

        Names in other languages are none.  One without a language tag comes after those of the languages.
        """
        names = [
            (rank, name.text, name)
            for name in (known, other)
            if name and (rank := self.rank(name)) is not None
        ]
        return min(names, key=lambda item: item[:2])[2] if names else None

    def rank(self, name: Name) -> int | None:
        """The position of the name's language; None if the language is not wanted."""
        return language_rank(name.language, self._languages)
