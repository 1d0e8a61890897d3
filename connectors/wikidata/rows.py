"""Converts query solutions to entities and statements.

Solutions are treated as a *set*: duplicates and their order do not matter.  An unusable value rejects only
what it belongs to: a label itself, a statement its slot, a version its subject.  A slot is returned whole
or not at all, because half a slot would make two contradicting values look like a single certain one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connectors.border import shown, whole_number
from connectors.dates import EARLIEST, Interval, instant, interval, wikibase_interval
from connectors.errors import SourceDataError
from connectors.observations import Entity, Kind, Rank, Statement
from connectors.rows.columns import MAX_NAMES
from connectors.rows.mapping import MAX_STATEMENTS
from connectors.rows.naming import MAX_ID
from connectors.terms import Solution, Term
from connectors.values import literal
from connectors.wikidata.vocabulary import SOME_VALUE, WIKIBASE, Vocabulary

_log = logging.getLogger(__name__)
MAX_VERSION = 2**62
"""Far above any revision, and far enough below what databases store to count on from it."""

_RANKS: Mapping[str, Rank] = {
    f"{WIKIBASE}PreferredRank": "preferred",
    f"{WIKIBASE}NormalRank": "normal",
    f"{WIKIBASE}DeprecatedRank": "deprecated",
}


@dataclass(frozen=True, slots=True)
class EntityVersion:
    """`schema:version` and `schema:dateModified` of an entity."""

    number: int
    modified: datetime | None


@dataclass(slots=True)
class Description:
    """An entity's version, names and whether it is a living human, from its rows."""

    labels: dict[str, str] = field(default_factory=dict)
    aliases: set[tuple[str, str]] = field(default_factory=set)
    """(language, text)."""
    human: bool = False
    dead: bool = False
    uncertain: bool = False
    """Whether a statement of its class or death cannot be used."""
    version: EntityVersion | None = None
    former: set[str] = field(default_factory=set)
    """IRIs of entities that were merged into it."""

    def entity(self, id: str, languages: Sequence[str]) -> Entity:
        """The label in the first language that has one; aliases in any of them, without the label."""
        label = next((self.labels[language] for language in languages if language in self.labels), None)
        names = {text for _, text in self.aliases} | set(self.labels.values())
        return Entity(
            id=id,
            label=label,
            aliases=tuple(sorted(names - {label})[:MAX_NAMES]),
            living=None if self.uncertain else self.human and not self.dead,
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
    """The rows of one subject, grouped by meaning."""

    description: Description = field(default_factory=Description)
    statements: defaultdict[tuple[str, str], _StatementRows] = field(
        default_factory=lambda: defaultdict(_StatementRows)
    )
    """By (claim IRI, statement IRI)."""
    broken: dict[str, str] = field(default_factory=dict)
    """Claim IRI → why the slot cannot be given; the empty IRI stands for all of them."""

    def reject(self, row: Solution, why: SourceDataError) -> None:
        """Record a row that cannot be used."""
        what, claim = _text(row, "is"), _text(row, "p")
        if what in ("label", "alias", "version", "former"):
            _log.warning("a %s of %s cannot be used: %s", what, shown(_text(row, "s")), why)
        elif what in ("class", "death"):
            self.description.uncertain = True
        else:
            self.broken.setdefault(claim or "", str(why))


@dataclass(frozen=True, slots=True)
class EntityVersions:
    """Which version each of some entities has; an entity that is in none of the three is absent."""

    found: dict[str, EntityVersion] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    """Old id → new id."""
    unreadable: frozenset[str] = frozenset()
    """There, but with a version or a redirect that cannot be used."""

    def __or__(self, other: EntityVersions) -> EntityVersions:
        return EntityVersions(
            self.found | other.found, self.merged | other.merged, self.unreadable | other.unreadable
        )


def versions_of(rows: Iterable[Solution], asked: Collection[str]) -> EntityVersions:
    """By IRI, of the entities that were asked about."""
    found: dict[str, EntityVersion] = {}
    merged: dict[str, str] = {}
    unreadable = set()
    for row in rows:
        iri = _text(row, "s")
        if iri is None or iri not in asked:
            continue
        try:
            if "to" in row:
                target = _required(row, "to").value
                if target == iri:
                    raise SourceDataError("it redirects to itself")
                merged[iri] = max(target, merged.get(iri, ""))
            else:
                found[iri] = _newer(_version(row), found.get(iri))
        except SourceDataError as error:
            _log.warning("the version of %s cannot be used: %s", iri, error)
            unreadable.add(iri)
    current = {iri: version for iri, version in found.items() if iri not in merged}
    return EntityVersions(current, merged, frozenset(unreadable - current.keys() - merged.keys()))


def _newer(version: EntityVersion, known: EntityVersion | None) -> EntityVersion:
    return version if known is None or known.number < version.number else known


def _version(row: Solution) -> EntityVersion:
    number = whole_number(_required(row, "version").value, "schema:version", MAX_VERSION)
    try:
        modified = instant(_required(row, "modified").value) if "modified" in row else None
    except SourceDataError:
        modified = None  # the version alone decides whether it is new
    return EntityVersion(number, modified)


def _text(row: Solution, name: str) -> str | None:
    term = row.get(name)
    return None if term is None or term.kind == "unusable" else term.value


def _required(row: Solution, name: str) -> Term:
    """Raises SourceDataError when the variable is not bound, or to a term that cannot be used."""
    term = row.get(name)
    if term is None:
        raise SourceDataError(f"a row lacks ?{name}")
    if term.kind == "unusable":
        raise SourceDataError(f"?{name}: {term.value}")
    return term


def descriptions_of(
    rows: Iterable[Solution], asked: Collection[str], vocabulary: Vocabulary
) -> dict[str, Description]:
    """By IRI, of the entities that were asked about; entities without any row are absent."""
    return {iri: subject.description for iri, subject in subjects_of(rows, asked, vocabulary).items()}


def _describe(description: Description, what: str, row: Solution, vocabulary: Vocabulary) -> None:
    if what == "version":
        description.version = _newer(_version(row), description.version)
    elif what in ("label", "alias"):
        name = _required(row, "x")
        if what == "label":
            known = description.labels.get(name.language or "", name.value)
            description.labels[name.language or ""] = min(known, name.value)
        else:
            description.aliases.add((name.language or "", name.value))
    elif what == "former":
        if (old := _required(row, "x")).kind == "uri":
            description.former.add(old.value)
    elif _rank(row) == "deprecated":
        return
    elif what == "class":
        description.human |= _required(row, "x").value == vocabulary.human_iri
    else:
        description.dead = True


def subjects_of(
    rows: Iterable[Solution], asked: Collection[str], vocabulary: Vocabulary
) -> dict[str, Subject]:
    """The rows of `queries.slots` or `queries.descriptions`, by the IRI of those that were asked about."""
    found: dict[str, Subject] = defaultdict(Subject)
    for row in rows:
        iri = _text(row, "s")
        if iri is None or iri not in asked:
            continue
        subject = found[iri]
        try:
            what = _required(row, "is").value
            if what in ("version", "label", "alias", "class", "death", "former"):
                _describe(subject.description, what, row, vocabulary)
            else:
                claim, statement = _required(row, "p").value, _required(row, "st").value
                _add_to_statement(subject.statements[claim, statement], what, row)
        except SourceDataError as error:
            subject.reject(row, error)
    return dict(found)


def _add_to_statement(statement: _StatementRows, what: str, row: Solution) -> None:
    if what == "statement":
        statement.rank = _rank(row)
    elif what == "start":
        statement.starts.add(_required(row, "x"))
    elif what == "end":
        statement.ends.add(_required(row, "x"))
    elif what == "time":
        parts = (_required(row, name).value for name in ("qualifier", "x", "precision"))
        qualifier, time, precision = parts
        statement.times.add((qualifier, time, precision))
    elif what == "value":
        statement.values.add(_required(row, "to" if "to" in row else "x"))
    elif what == "reference":
        statement.references.add(_required(row, "x").value)
    elif what == "novalue":
        statement.no_value = True
    else:
        raise SourceDataError(f"there is no row about {shown(what)}")


def _rank(row: Solution) -> Rank:
    iri = _required(row, "rank").value
    if iri not in _RANKS:
        raise SourceDataError(f"{shown(iri)} is not a Wikibase rank")
    return _RANKS[iri]


def statements_of(subject: Subject, claim: str, vocabulary: Vocabulary) -> tuple[Statement, ...]:
    """The slot's statements, sorted by id; entities have no labels yet.

    Raises SourceDataError when any of them cannot be used.
    """
    if why := subject.broken.get(claim) or subject.broken.get(""):
        raise SourceDataError(why)
    held = {iri: rows for (of, iri), rows in subject.statements.items() if of == claim}
    if len(held) > MAX_STATEMENTS:
        raise SourceDataError(f"the slot holds {len(held)} statements, more than {MAX_STATEMENTS}")
    compact = vocabulary.namespaces.compact
    statements = [_statement(compact(iri), rows, vocabulary) for iri, rows in held.items()]
    return tuple(sorted(statements, key=lambda statement: statement.id))


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
    most = MAX_ID if value.kind == "uri" and id != value.value else 2 * MAX_ID
    if len(id.encode()) > most:
        raise SourceDataError(f"a value has more than {most} bytes: {shown(id)}")
    if value.kind == "uri" and id != value.value:
        vocabulary.namespaces.expand(id)  # no characters that no IRI may hold
        return "entity", Entity(id)
    # An IRI outside the known namespaces is the value of a URL property, so it is a literal.
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
