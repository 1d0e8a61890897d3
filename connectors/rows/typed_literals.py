"""Text of typed RDF literals (XML Schema Part 2, RDF 1.1 Concepts): the same as for cells of other sources."""

from __future__ import annotations

import re
from decimal import Decimal

from connectors.border import Unusable, floating, shown
from connectors.terms import Term

_XSD = "http://www.w3.org/2001/XMLSchema#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?|[+-]?INF|NaN")
_FLOATING = frozenset({_XSD + "double", _XSD + "float"})
_EXACT = frozenset(
    _XSD + name
    for name in (
        "decimal",
        "integer",
        "long",
        "int",
        "short",
        "byte",
        "nonNegativeInteger",
        "positiveInteger",
        "nonPositiveInteger",
        "negativeInteger",
        "unsignedLong",
        "unsignedInt",
        "unsignedShort",
        "unsignedByte",
    )
)
_WITHOUT_TEXT = frozenset(
    {
        *(_XSD + name for name in ("boolean", "duration", "dayTimeDuration", "yearMonthDuration")),
        *(_XSD + name for name in ("base64Binary", "hexBinary")),
        *(_RDF + name for name in ("XMLLiteral", "HTML", "JSON")),
        "http://www.opengis.net/ont/geosparql#wktLiteral",
        "http://www.opengis.net/ont/geosparql#gmlLiteral",
    }
)
"""Datatypes whose lexical form is a notation and nobody's label."""


def literal_value(term: Term) -> str | float | Decimal | Unusable:
    """The value of a literal: a number for numeric datatypes, so that `+42` and `42.0` are both 42."""
    datatype = term.datatype
    if datatype in _WITHOUT_TEXT:
        return Unusable("a value", f"of type {_name(datatype)}")
    if datatype not in _FLOATING and datatype not in _EXACT:
        return term.value
    digits = term.value.strip()
    if not _NUMBER.fullmatch(digits):
        return Unusable(shown(term.value), f"no {_name(datatype)}")
    return floating(digits) if datatype in _FLOATING else Decimal(digits.replace("INF", "Infinity"))


def _name(datatype: str) -> str:
    return re.split("[#/]", datatype)[-1]
