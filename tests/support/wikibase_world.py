"""Small worlds in Wikidata's RDF shape, for tests to change and serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2021, 1, 1, tzinfo=UTC)
NO_VALUE = "no value"
SOME_VALUE = "some value"

_PREFIXES = """
@prefix wd: <http://www.wikidata.org/entity/> .
@prefix wds: <http://www.wikidata.org/entity/statement/> .
@prefix wdt: <http://www.wikidata.org/prop/direct/> .
@prefix wdno: <http://www.wikidata.org/prop/novalue/> .
@prefix wdref: <http://www.wikidata.org/reference/> .
@prefix p: <http://www.wikidata.org/prop/> .
@prefix ps: <http://www.wikidata.org/prop/statement/> .
@prefix pq: <http://www.wikidata.org/prop/qualifier/> .
@prefix pqv: <http://www.wikidata.org/prop/qualifier/value/> .
@prefix wikibase: <http://wikiba.se/ontology#> .
@prefix schema: <http://schema.org/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix prov: <http://www.w3.org/ns/prov#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


@dataclass
class Claim:
    """One statement; `value` is an item id, a quoted Turtle literal, NO_VALUE or SOME_VALUE."""

    id: str
    value: str
    rank: str = "Normal"
    start: datetime | None = None
    end: datetime | str | None = None
    """A time, or SOME_VALUE for an end at an unknown time."""
    references: int = 0
    start_precision: int | None = None
    end_precision: int | None = None
    """`wikibase:timePrecision` (9 a year, 11 a day); None: the date has no value node."""


@dataclass
class Item:
    id: str
    version: int
    modified: datetime
    labels: dict[str, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    claims: dict[str, list[Claim]] = field(default_factory=dict)
    redirect: str | None = None


class World:
    """Items by id.  `touch` is an edit: a new version, at a time that the test says."""

    def __init__(self, data_nodes: bool = False) -> None:
        self.items: dict[str, Item] = {}
        self.now = START
        self.revision = 1000
        self._data_nodes = data_nodes

    def add(self, id: str, label: str | None = None, **claims: list[Claim]) -> Item:
        self.revision += 1
        labels = {"en": label} if label else {}
        self.items[id] = Item(id, self.revision, self.now, labels, claims=dict(claims))
        return self.items[id]

    def touch(self, id: str, after: timedelta = timedelta(minutes=1)) -> Item:
        """A later edit of the item, `after` the world's last one; the caller says what changed."""
        self.now += after
        self.revision += 1
        item = self.items[id]
        item.version, item.modified = self.revision, self.now
        return item

    def turtle(self) -> str:
        return _PREFIXES + "\n".join(self._item(item) for item in self.items.values())

    def turtle_of(self, id: str) -> str:
        """One entity as Special:EntityData tells of it: the version is on a data node."""
        return _PREFIXES + self._item(self.items[id], data_node=True)

    def _item(self, item: Item, data_node: bool = False) -> str:
        if item.redirect:
            return f"wd:{item.id} owl:sameAs wd:{item.redirect} ."
        about = None
        if data_node or self._data_nodes:
            about = f"<https://data.example/{item.id}> schema:about wd:{item.id} ; "
        lines = [
            f"{about or f'wd:{item.id} '}schema:version {item.version} ; "
            f"schema:dateModified {_time(item.modified)} ."
        ]
        lines += [f'wd:{item.id} rdfs:label "{text}"@{lang} .' for lang, text in item.labels.items()]
        lines += [f'wd:{item.id} skos:altLabel "{text}"@en .' for text in item.aliases]
        for pid, claims in item.claims.items():
            lines += [_claim(item.id, pid, claim) for claim in claims]
        return "\n".join(lines)


def _claim(subject: str, pid: str, claim: Claim) -> str:
    node = f"wds:{claim.id}"
    lines = [f"wd:{subject} p:{pid} {node} . {node} wikibase:rank wikibase:{claim.rank}Rank ."]
    if claim.value == NO_VALUE:
        lines.append(f"{node} a wdno:{pid} .")
    else:
        lines.append(f"{node} ps:{pid} {_value(claim.value)} .")
    if claim.start:
        lines.append(f"{node} pq:P580 {_time(claim.start)} .")
    if claim.end:
        end = "[]" if isinstance(claim.end, str) else _time(claim.end)
        lines.append(f"{node} pq:P582 {end} .")
    for pid, at, precision in (
        ("P580", claim.start, claim.start_precision),
        ("P582", claim.end, claim.end_precision),
    ):
        if isinstance(at, datetime) and precision is not None:
            lines.append(
                f"{node} pqv:{pid} [ a wikibase:TimeValue ; wikibase:timeValue {_time(at)} ; "
                f"wikibase:timePrecision {precision} ] ."
            )
    lines += [f"{node} prov:wasDerivedFrom wdref:{claim.id}-{n} ." for n in range(claim.references)]
    return "\n".join(lines)


def _value(value: str) -> str:
    if value == SOME_VALUE:
        return "[]"
    return value if value.startswith(('"', "<")) else f"wd:{value}"


def _time(at: datetime) -> str:
    return f'"{at.isoformat().replace("+00:00", "Z")}"^^xsd:dateTime'
