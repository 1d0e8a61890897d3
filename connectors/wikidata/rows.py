"""From result rows to entities and statements.

Rows are taken as a *set*: doubled or reordered ones change nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connectors.border import shown, whole_number
from connectors.dates import EARLIEST, Interval, instant, interval, wikibase_interval
from connectors.errors import SourceDataError
from connectors.observations import Entity, Kind, Rank, Statement
from connectors.terms import Solution, Term
from connectors.values import literal
from connectors.wikidata.vocabulary import SOME_VALUE, WIKIBASE, Vocabulary

_RANKS: Mapping[str, Rank] = {
    f"{WIKIBASE}PreferredRank": "preferred",
    f"{WIKIBASE}NormalRank": "normal",
    f"{WIKIBASE}DeprecatedRank": "deprecated",
}


@dataclass(frozen=True, slots=True)
class Version:
    """`schema:version` and `schema:dateModified` of an entity."""

    number: int
    modified: datetime | None


@dataclass(slots=True)
class Description:
    """What an entity's rows say of it."""

    labels: dict[str, str] = field(default_factory=dict)
    aliases: set[tuple[str, str]] = field(default_factory=set)
    """(language, text)."""
    human: bool = False
    dead: bool = False
    version: Version | None = None

    def entity(self, id: str, languages: Sequence[str]) -> Entity:
        """The label in the first language that has one; aliases in any of them, without the label."""
        label = next((self.labels[language] for language in languages if language in self.labels), None)
        names = {text for _, text in self.aliases} | set(self.labels.values())
        return Entity(
            id=id,
            label=label,
            aliases=tuple(sorted(names - {label})),
            living=self.human and not self.dead,
        )


@dataclass(slots=True)
class _StatementRows:
    rank: Rank = "normal"
    values: set[Term] = field(default_factory=set)
    starts: set[Term] = field(default_factory=set)
    ends: set[Term] = field(default_factory=set)
    times: set[tuple[str, str, str]] = field(default_factory=set)
    """(qualifier IRI, time, precision) of the value nodes; the simple values above have no precision."""
    references: set[str] = field(default_factory=set)
    no_value: bool = False


@dataclass(slots=True)
class Subject:
    """All rows of one subject, sorted out."""

    description: Description = field(default_factory=Description)
    statements: defaultdict[tuple[str, str], _StatementRows] = field(
        default_factory=lambda: defaultdict(_StatementRows)
    )
    """By (claim IRI, statement IRI)."""


def versions_of(rows: Iterable[Solution]) -> tuple[dict[str, Version], dict[str, str]]:
    """(version by IRI, merged-to IRI by merged IRI)."""
    found: dict[str, Version] = {}
    merged: dict[str, str] = {}
    for row in rows:
        iri = row["s"].value
        if "to" in row:
            merged[iri] = max(row["to"].value, merged.get(iri, ""))
        else:
            _keep_newest(found, iri, row)
    return {iri: version for iri, version in found.items() if iri not in merged}, merged


def _keep_newest(found: dict[str, Version], iri: str, row: Solution) -> None:
    version = _version(row)
    if iri not in found or found[iri].number < version.number:
        found[iri] = version


def _version(row: Solution) -> Version:
    number = whole_number(row["version"].value, f"{shown(row['s'].value)}: schema:version")
    return Version(number, instant(row["modified"].value) if "modified" in row else None)


def descriptions_of(rows: Iterable[Solution], vocabulary: Vocabulary) -> dict[str, Description]:
    """By IRI; entities without any row are absent."""
    found: dict[str, Description] = defaultdict(Description)
    for row in rows:
        _describe(found[row["s"].value], row, vocabulary)
    return dict(found)


def _describe(description: Description, row: Solution, vocabulary: Vocabulary) -> None:
    what = row["is"].value
    if what == "version":
        version = _version(row)
        if description.version is None or description.version.number < version.number:
            description.version = version
    elif what == "label":
        description.labels[row["x"].language or ""] = row["x"].value
    elif what == "alias":
        description.aliases.add((row["x"].language or "", row["x"].value))
    elif _rank(row) == "deprecated":
        return
    elif what == "class":
        description.human |= row["x"].value == vocabulary.human_iri
    elif what == "death":
        description.dead = True


def subjects_of(rows: Iterable[Solution], vocabulary: Vocabulary) -> dict[str, Subject]:
    """The rows of `queries.slots`, by subject IRI."""
    found: dict[str, Subject] = defaultdict(Subject)
    for row in rows:
        subject = found[row["s"].value]
        what = row["is"].value
        if what in ("version", "label", "alias", "class", "death"):
            _describe(subject.description, row, vocabulary)
        else:
            _add_to_statement(subject.statements[row["p"].value, row["st"].value], what, row)
    return dict(found)


def _add_to_statement(statement: _StatementRows, what: str, row: Solution) -> None:
    if what == "statement":
        statement.rank = _rank(row)
        statement.starts |= {row["start"]} if "start" in row else set()
        statement.ends |= {row["end"]} if "end" in row else set()
    elif what == "value":
        statement.values.add(row["to"] if "to" in row else row["x"])
    elif what == "time":
        statement.times.add((row["qualifier"].value, row["x"].value, row["precision"].value))
    elif what == "reference":
        statement.references.add(row["x"].value)
    elif what == "novalue":
        statement.no_value = True


def _rank(row: Solution) -> Rank:
    iri = row["rank"].value
    if iri not in _RANKS:
        raise SourceDataError(f"{row['s'].value}: {iri!r} is no rank of Wikibase")
    return _RANKS[iri]


def statements_of(subject: Subject, claim: str, vocabulary: Vocabulary) -> tuple[Statement, ...]:
    """The slot's statements, sorted by id; entities have no labels yet."""
    compact = vocabulary.namespaces.compact
    return tuple(
        sorted(
            (
                _statement(compact(iri), rows, vocabulary)
                for (of, iri), rows in subject.statements.items()
                if of == claim
            ),
            key=lambda statement: statement.id,
        )
    )


def _statement(id: str, rows: _StatementRows, vocabulary: Vocabulary) -> Statement:
    kind, object = _value(rows, vocabulary)
    return Statement(
        id=id,
        kind=kind,
        object=object,
        rank=rows.rank,
        start=_start(rows, vocabulary),
        end=_end(rows, vocabulary),
        references=len(rows.references),
    )


def _value(rows: _StatementRows, vocabulary: Vocabulary) -> tuple[Kind, Entity | None]:
    value = min(rows.values, key=lambda term: (term.kind, term.value), default=None)
    if value is None:
        return ("novalue" if rows.no_value else "somevalue"), None
    if is_some_value(value):
        return "somevalue", None
    id = vocabulary.namespaces.compact(value.value)
    if value.kind == "uri" and id != value.value:
        return "entity", Entity(id)
    # An IRI in no namespace of ours is the value of a URL property: text.
    return "literal", literal(value.value)


def _start(rows: _StatementRows, vocabulary: Vocabulary) -> Interval | None:
    known = _intervals(rows.starts, rows.times, vocabulary.qualifier_value(vocabulary.start))
    return min(known, key=lambda date: date.first, default=None)


def _end(rows: _StatementRows, vocabulary: Vocabulary) -> Interval | None:
    """The latest end; an end at an unknown time is an end all the same, long ago."""
    known = _intervals(rows.ends, rows.times, vocabulary.qualifier_value(vocabulary.end))
    unknown = Interval.at(EARLIEST) if rows.ends else None
    return max(known, key=lambda date: date.past, default=unknown)


def _intervals(simple: set[Term], nodes: set[tuple[str, str, str]], qualifier: str) -> list[Interval]:
    """The dates of one qualifier, of its value nodes or else (they are not everywhere) of its simple values."""
    precise = [
        wikibase_interval(time, whole_number(precision, "wikibase:timePrecision", most=20))
        for of, time, precision in nodes
        if of == qualifier
    ]
    return precise or [interval(term.value) for term in simple if not is_some_value(term)]


def is_some_value(term: Term) -> bool:
    """Whether the term stands for "some value, we do not know which"."""
    return term.kind == "bnode" or (term.kind == "uri" and SOME_VALUE in term.value)
