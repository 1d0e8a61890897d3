"""An entity of a JSON dump in the shape of its RDF, so that a slot read here equals the slot read over SPARQL.

"Wikibase/DataModel/JSON" describes the documents, "Wikibase/Indexing/RDF Dump Format" what their values are in RDF.
Each part becomes the row that `queries.slots` would have selected for it; `rows` reads both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

import orjson

from connectors.border import shown, whole_number
from connectors.errors import SourceDataError
from connectors.terms import Solution, Term, well_formed_term
from connectors.wikidata.rows import Subject, subjects_of
from connectors.wikidata.vocabulary import WIKIBASE, Vocabulary

_ID = re.compile(rb'\{(?:"type":"[a-z-]+",)?"id":"([A-Z][0-9]+)"')
_KNOWN_ID = re.compile(r"[A-Z][0-9]+")
_NOT_IN_NODES = re.compile(r"[^A-Za-z0-9_-]")
_TIME = re.compile(r"([+-])([0-9]{1,16})-([0-9]{2})-([0-9]{2})(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
_DAY = 11
"""`precision` of a time value that is exact to the day."""
_JULIAN = "http://www.wikidata.org/entity/Q1985786"
_EARTH = "http://www.wikidata.org/entity/Q2"
_COMMONS_FILE = "http://commons.wikimedia.org/wiki/Special:FilePath/"
_COMMONS_DATA = "http://commons.wikimedia.org/data/main/"
_LETTERS = {"item": "Q", "property": "P", "lexeme": "L"}


def id_of(text: bytes) -> str | None:
    """The id of the entity in a line, without parsing the line; None: the line has to be parsed to know it."""
    match = _ID.match(text)
    return match[1].decode() if match else None


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed line."""

    id: str
    body: Mapping[str, Any]

    @classmethod
    def parse(cls, text: bytes) -> Document:
        """Raises SourceDataError for a line that is no entity."""
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SourceDataError(f"not valid JSON: {error}") from error
        id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(id, str) or not _KNOWN_ID.fullmatch(id):
            raise SourceDataError(f"not an entity: {shown(text[:60].decode(errors='replace'))}")
        return cls(id, body)

    def claims(self, pid: str) -> Sequence[Any]:
        """The statements of one property."""
        return _list(_mapping(self.body.get("claims"), "claims").get(pid), pid)


class EntityShape:
    """Converts documents; `prefix` is the prefix of the ids of entities."""

    def __init__(self, vocabulary: Vocabulary, languages: Sequence[str], prefix: str) -> None:
        self._vocabulary = vocabulary
        self._languages = languages
        self._prefix = prefix

    def curie(self, id: str) -> str:
        return f"{self._prefix}:{id}"

    def subject(self, document: Document, pids: Sequence[str]) -> Subject:
        """The entity with its slots of these properties.

        Raises SourceDataError for a document without a usable version; any other part that cannot be used rejects
        its slot, or itself, as in an answer of an endpoint.
        """
        iri = self._vocabulary.namespaces.expand(self.curie(document.id))
        broken: dict[str, str] = {}
        rows = [*self._described(document), *self._stated(document, pids, broken)]
        rows = [{"s": Term("uri", iri), **row} for row in rows]
        subject = subjects_of(rows, {iri}, self._vocabulary)[iri]
        if subject.description.version is None:
            raise SourceDataError(f"{document.id} has no usable `lastrevid`")
        for claim, why in broken.items():
            subject.broken.setdefault(claim, why)
        return subject

    def _described(self, document: Document) -> Iterator[Solution]:
        body = document.body
        version = {"is": _literal("version"), "version": _literal(str(body.get("lastrevid")))}
        if isinstance(modified := body.get("modified"), str):
            version["modified"] = _literal(modified)
        yield version
        try:
            labels = _mapping(body.get("labels"), "labels")
            aliases = _mapping(body.get("aliases"), "aliases")
            for language in self._languages:
                if language in labels:
                    yield {"is": _literal("label"), "x": _spoken(labels[language])}
                for alias in _list(aliases.get(language), "aliases"):
                    yield {"is": _literal("alias"), "x": _spoken(alias)}
        except SourceDataError as error:
            yield {"is": _literal("label"), "x": Term("unusable", str(error))}
        for what, pid in (("class", self._vocabulary.instance_of), ("death", self._vocabulary.death)):
            try:
                for claim in document.claims(pid):
                    yield from self._class_or_death(what, claim)
            except SourceDataError as error:
                yield {"is": _literal(what), "rank": Term("unusable", str(error))}

    def _class_or_death(self, what: str, claim: Any) -> Iterator[Solution]:
        claim = _mapping(claim, what)
        row = {"is": _literal(what), "rank": _rank(claim)}
        if what == "death":
            yield row
        elif (value := self._value(_mapping(claim.get("mainsnak"), "mainsnak"))) is not None:
            yield {**row, "x": value}

    def _stated(self, document: Document, pids: Sequence[str], broken: dict[str, str]) -> Iterator[Solution]:
        for pid in pids:
            iri = self._vocabulary.claim(pid)
            try:
                for claim in document.claims(pid):
                    about = {"p": Term("uri", iri)}
                    yield from ({**about, **row} for row in self._statement(_mapping(claim, pid)))
            except SourceDataError as error:
                broken[iri] = str(error)

    def _statement(self, claim: Mapping[str, Any]) -> list[Solution]:
        node = _NOT_IN_NODES.sub("-", _text(claim, "id"))
        st = {"st": Term("uri", self._vocabulary.namespaces.expand(f"wds:{node}"))}
        rows: list[Solution] = [{"is": _literal("statement"), "rank": _rank(claim)}]
        main = _mapping(claim.get("mainsnak"), "mainsnak")
        if (value := self._value(main)) is not None:
            rows.append({"is": _literal("value"), "x": value})
        elif main.get("snaktype") == "novalue":
            rows.append({"is": _literal("novalue")})
        qualifiers = _mapping(claim.get("qualifiers"), "qualifiers")
        for what, pid in (("start", self._vocabulary.start), ("end", self._vocabulary.end)):
            for snak in _list(qualifiers.get(pid), pid):
                rows += self._date(what, pid, _mapping(snak, pid))
        for number, reference in enumerate(_list(claim.get("references"), "references")):
            name = _mapping(reference, "references").get("hash", number)
            rows.append({"is": _literal("reference"), "x": Term("uri", f"urn:reference:{name}")})
        return [{**row, **st} for row in rows]

    def _date(self, what: str, pid: str, snak: Mapping[str, Any]) -> Iterator[Solution]:
        value = self._value(snak)
        if value is None:
            return
        yield {"is": _literal(what), "x": value}
        if value.kind == "literal":
            precision = _mapping(_mapping(snak.get("datavalue"), "datavalue").get("value"), "value")
            yield {
                "is": _literal("time"),
                "qualifier": Term("uri", self._vocabulary.qualifier_value(pid)),
                "x": value,
                "precision": _literal(str(precision.get("precision", _DAY))),
            }

    def _value(self, snak: Mapping[str, Any]) -> Term | None:
        """The value of a snak as RDF has it; None for "no value".  Raises SourceDataError."""
        kind = snak.get("snaktype")
        if kind == "novalue":
            return None
        if kind == "somevalue":
            return Term("bnode", "some-value")
        if kind != "value":
            raise SourceDataError(f"{shown(str(kind))} is not a type of snak")
        data = _mapping(snak.get("datavalue"), "datavalue")
        return self._rdf(str(data.get("type")), data.get("value"), str(snak.get("datatype", "")))

    def _rdf(self, type: str, value: Any, datatype: str) -> Term:
        if type == "string" and isinstance(value, str):
            return _string(value, datatype)
        value = _mapping(value, "value")
        if type == "wikibase-entityid":
            id = (
                value.get("id")
                or f"{_LETTERS.get(value.get('entity-type', ''), '')}{value.get('numeric-id')}"
            )
            iri = self._vocabulary.namespaces.expand(self.curie(str(id)))
            return well_formed_term("uri", iri)
        if type == "time":
            return _literal(
                rdf_time(_text(value, "time"), value.get("precision"), value.get("calendarmodel"))
            )
        if type == "quantity":
            return _literal(_text(value, "amount"))
        if type == "monolingualtext":
            return well_formed_term("literal", _text(value, "text"), None, _text(value, "language"))
        if type == "globecoordinate":
            globe = value.get("globe", _EARTH)
            point = f"Point({value.get('longitude')} {value.get('latitude')})"
            return _literal(point if globe == _EARTH else f"<{globe}> {point}")
        raise SourceDataError(f"a value of the unknown type {shown(type)}")


def _string(value: str, datatype: str) -> Term:
    if datatype == "url":
        return well_formed_term("uri", value)
    if datatype == "commonsMedia":
        return well_formed_term("uri", _COMMONS_FILE + quote(value))
    if datatype in ("geo-shape", "tabular-data"):
        return well_formed_term("uri", _COMMONS_DATA + quote(value))
    return _literal(value)


def rdf_time(text: str, precision: object, calendar: object) -> str:
    """A time of the JSON format as RDF has it: month and day 00 become 01, Julian days Gregorian ones.

    Raises SourceDataError for text that is no such time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise SourceDataError(f"{shown(text)} is not a time of a dump")
    sign, digits, month, day, rest = match.groups()
    year = whole_number(digits, "a year")
    if sign == "-":
        year = 1 - year  # JSON has no year 0, XSD 1.1 has
    exact = precision == _DAY and month != "00" and day != "00"
    if exact and calendar == _JULIAN and 1 <= year <= 9990:
        parts = whole_number(month, "a month"), whole_number(day, "a day")
        try:
            gregorian = date.fromordinal(_julian_ordinal(year, *parts))
        except (ValueError, OverflowError) as error:
            raise SourceDataError(f"{shown(text)} is not a date") from error
        return f"{gregorian.isoformat()}{rest}"
    month, day = (part if part != "00" else "01" for part in (month, day))
    return f"{'-' if year < 0 else ''}{abs(year):04d}-{month}-{day}{rest}"


def _julian_ordinal(year: int, month: int, day: int) -> int:
    """The proleptic Gregorian ordinal of a Julian day: 1 January 1 (Julian) is 30 December of the year before."""
    long = year % 4 == 0
    lengths = (31, 29 if long else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not 1 <= month <= 12 or not 1 <= day <= lengths[month - 1]:
        raise ValueError("no such day")
    before = 365 * (year - 1) + (year - 1) // 4 + sum(lengths[: month - 1])
    return before + day - 2


def _rank(claim: Mapping[str, Any]) -> Term:
    return _uri(f"{WIKIBASE}{str(claim.get('rank', 'normal')).capitalize()}Rank")


def _spoken(label: Any) -> Term:
    label = _mapping(label, "label")
    return well_formed_term("literal", _text(label, "value"), None, _text(label, "language"))


def _uri(value: str) -> Term:
    return well_formed_term("uri", value)


def _literal(value: str) -> Term:
    return well_formed_term("literal", value)


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise SourceDataError(f"`{name}` is missing, or is no text")
    return found


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    """An object; PHP writes an empty one as an empty array."""
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise SourceDataError(f"`{name}` is no object")
    return value


def _list(value: Any, name: str) -> Sequence[Any]:
    if value is None or value == {}:
        return ()
    if not isinstance(value, list):
        raise SourceDataError(f"`{name}` is no array")
    return value
