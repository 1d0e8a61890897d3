"""The SPARQL texts for Wikidata's shape: plain SPARQL 1.1, no label service, no extensions.

Every branch of a UNION begins with its own VALUES: engines evaluate branches on their own, and one
without would read the whole store.  Subjects come as VALUES, predicates as a FILTER: with both as
VALUES oxigraph scans every statement of every property (measured: 30 times slower on 15,000 of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from connectors.wikidata.vocabulary import (
    ALT_LABEL,
    DATE_TIME,
    DERIVED_FROM,
    RDFS_LABEL,
    SAME_AS,
    SCHEMA,
    WIKIBASE,
    Vocabulary,
)

_VERSION = f"<{SCHEMA}version>"
_MODIFIED = f"<{SCHEMA}dateModified>"
_ABOUT = f"<{SCHEMA}about>"
_RANK = f"<{WIKIBASE}rank>"
STATEMENTS, DIRECT = "statements with ranks", "direct values"
"""Capabilities of an endpoint, as `capabilities` names them."""


def _values(variable: str, iris: Sequence[str]) -> str:
    return f"VALUES ?{variable} {{ {' '.join(f'<{iri}>' for iri in iris)} }}"


def _one_of(variable: str, iris: Sequence[str]) -> str:
    return f"FILTER(?{variable} IN ({', '.join(f'<{iri}>' for iri in iris)}))"


def _version_branches(subjects: str) -> str:
    """The version is on the entity in the query service, on its data node in dumps: either will do."""
    return f"""
  {{ {subjects} ?s {_VERSION} ?version . OPTIONAL {{ ?s {_MODIFIED} ?modified }} BIND("version" AS ?is) }}
  UNION
  {{ {subjects} ?data {_ABOUT} ?s ; {_VERSION} ?version . OPTIONAL {{ ?data {_MODIFIED} ?modified }}
    BIND("version" AS ?is) }}"""


def versions(subjects: Sequence[str]) -> str:
    """?s ?is ?version ?modified ?to: the version of each subject, or where it was merged to."""
    values = _values("s", subjects)
    return f"""SELECT ?s ?is ?version ?modified ?to WHERE {{{_version_branches(values)}
  UNION
  {{ {values} ?s <{SAME_AS}> ?to . BIND("redirect" AS ?is) }}
}}"""


def _held(vocabulary: Vocabulary, values: str, subject: str, pids: Sequence[str], object_: str) -> str:
    """?p ?st and the value ?`object_` of every statement in the subjects' slots."""
    claims = _one_of("p", [vocabulary.claim(pid) for pid in pids])
    value = _one_of("ps", [vocabulary.value(pid) for pid in pids])
    return f"{values} ?{subject} ?p ?st . {claims} ?st ?ps ?{object_} . {value}"


def changed_objects(
    vocabulary: Vocabulary, subjects: Sequence[str], pids: Sequence[str], since: datetime
) -> str:
    """?s ?version ?modified of the *objects* that the subjects' slots hold and that changed since."""
    held = _held(vocabulary, _values("subject", subjects), "subject", pids, "s")
    instant = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    recent = f'FILTER(?modified >= "{instant}"^^<{DATE_TIME}>)'
    return f"""SELECT DISTINCT ?s ?version ?modified WHERE {{
  {{ {held} ?s {_VERSION} ?version ; {_MODIFIED} ?modified . {recent} }}
  UNION
  {{ {held} ?data {_ABOUT} ?s ; {_VERSION} ?version ; {_MODIFIED} ?modified . {recent} }}
}}"""


def _description_branches(vocabulary: Vocabulary, subjects: str, languages: Sequence[str]) -> str:
    """Labels, aliases, and the statements that show whether somebody is alive."""
    spoken = ", ".join(f'"{language}"' for language in languages)
    instance_of, death = vocabulary.claim(vocabulary.instance_of), vocabulary.claim(vocabulary.death)
    return f"""
  {{ {subjects} ?s <{RDFS_LABEL}> ?x . FILTER(LANG(?x) IN ({spoken})) BIND("label" AS ?is) }}
  UNION
  {{ {subjects} ?s <{ALT_LABEL}> ?x . FILTER(LANG(?x) IN ({spoken})) BIND("alias" AS ?is) }}
  UNION
  {{ {subjects} ?s <{instance_of}> ?st . ?st <{vocabulary.value(vocabulary.instance_of)}> ?x .
    ?st {_RANK} ?rank . BIND("class" AS ?is) }}
  UNION
  {{ {subjects} ?s <{death}> ?st . ?st {_RANK} ?rank . BIND("death" AS ?is) }}
  UNION
  {{ {subjects} ?x <{SAME_AS}> ?s . BIND("former" AS ?is) }}
  UNION
  {{ {subjects} ?between <{SAME_AS}> ?s . ?x <{SAME_AS}> ?between . BIND("former" AS ?is) }}"""


def descriptions(vocabulary: Vocabulary, entities: Sequence[str], languages: Sequence[str]) -> str:
    """?s ?is ?version ?modified ?x ?rank: one row for each label, alias, class, statement of death and
    entity that was merged into it.

    The version comes along because a label, too, may be a lagging replica's.
    """
    values = _values("s", entities)
    return f"""SELECT ?s ?is ?version ?modified ?x ?rank WHERE {{{_version_branches(values)}
  UNION {_description_branches(vocabulary, values, languages)}
}}"""


def slots(
    vocabulary: Vocabulary, subjects: Sequence[str], pids: Sequence[str], languages: Sequence[str]
) -> str:
    """Everything about the subjects' slots: ?s ?is, and of ?version ?modified ?x ?p ?st ?rank ?qualifier
    ?precision ?to what that kind of row has.

    Version, labels and statements come in *one* answer, because two could come from two replicas
    that lag differently.  Each row is of one kind (`?is`), so several references, values and
    qualifiers do not multiply each other.
    """
    values = _values("s", subjects)
    statement = f"{values} ?s ?p ?st . {_one_of('p', [vocabulary.claim(pid) for pid in pids])}"
    dates = [vocabulary.qualifier_value(pid) for pid in (vocabulary.start, vocabulary.end)]
    no_value = _one_of("none", [vocabulary.no_value(pid) for pid in pids])
    wanted = "?s ?is ?version ?modified ?x ?p ?st ?rank ?qualifier ?precision ?to"
    return f"""SELECT DISTINCT {wanted} WHERE {{
{_version_branches(values)}
  UNION {_description_branches(vocabulary, values, languages)}
  UNION
  {{ {statement} ?st {_RANK} ?rank . BIND("statement" AS ?is) }}
  UNION
  {{ {statement} ?st <{vocabulary.qualifier(vocabulary.start)}> ?x . BIND("start" AS ?is) }}
  UNION
  {{ {statement} ?st <{vocabulary.qualifier(vocabulary.end)}> ?x . BIND("end" AS ?is) }}
  UNION
  {{ {statement} ?st ?qualifier ?node . {_one_of("qualifier", dates)}
    ?node <{WIKIBASE}timeValue> ?x ; <{WIKIBASE}timePrecision> ?precision . BIND("time" AS ?is) }}
  UNION
  {{ {_held(vocabulary, values, "s", pids, "x")}
    OPTIONAL {{ ?x <{SAME_AS}> ?to }} BIND("value" AS ?is) }}
  UNION
  {{ {statement} ?st a ?none . {no_value} BIND("novalue" AS ?is) }}
  UNION
  {{ {statement} ?st <{DERIVED_FROM}> ?x . BIND("reference" AS ?is) }}
}}"""


def capabilities(vocabulary: Vocabulary, subjects: Sequence[str]) -> str:
    """?is: what the endpoint has of these subjects."""
    values, direct = _values("s", subjects), vocabulary.property_base + "direct/"
    return f"""SELECT DISTINCT ?is WHERE {{
  {{ {values} ?s {_VERSION} ?x . BIND("versions" AS ?is) }}
  UNION {{ {values} ?data {_ABOUT} ?s ; {_VERSION} ?x . BIND("versions on data nodes" AS ?is) }}
  UNION {{ {values} ?s ?p ?st . ?st {_RANK} ?x . BIND("{STATEMENTS}" AS ?is) }}
  UNION {{ {values} ?s ?p ?x . FILTER(STRSTARTS(STR(?p), "{direct}")) BIND("{DIRECT}" AS ?is) }}
}}"""


def objects(vocabulary: Vocabulary, subjects: Sequence[str], pids: Sequence[str]) -> str:
    """?s: what the subjects' slots hold."""
    return f"SELECT DISTINCT ?s WHERE {{ {_held(vocabulary, _values('subject', subjects), 'subject', pids, 's')} }}"


def members(vocabulary: Vocabulary, classes: Sequence[str]) -> str:
    """?s: the instances of these classes and of their subclasses, except where the membership has an end."""
    instance_of = vocabulary.instance_of
    return f"""SELECT DISTINCT ?s WHERE {{
  {_values("top", classes)} ?class <{vocabulary.direct(vocabulary.subclass_of)}>* ?top .
  ?s <{vocabulary.direct(instance_of)}> ?class .
  FILTER NOT EXISTS {{ ?s <{vocabulary.claim(instance_of)}> ?st . ?st <{vocabulary.value(instance_of)}> ?class ;
    <{vocabulary.qualifier(vocabulary.end)}> ?end }}
}}"""


def holders(vocabulary: Vocabulary, pid: str, object_iri: str | None, limit: int) -> str:
    """?s: some subjects that hold `object_iri` (anything when None) in the slot."""
    held = f"<{object_iri}>" if object_iri else "?x"
    return f"""SELECT DISTINCT ?s WHERE {{
  ?s <{vocabulary.claim(pid)}> ?st . ?st <{vocabulary.value(pid)}> {held} .
}} LIMIT {limit}"""


def lag(subject: str) -> str:
    """?modified: how far the query service's updater has come."""
    return f"SELECT ?modified WHERE {{ <{subject}> {_MODIFIED} ?modified }}"
