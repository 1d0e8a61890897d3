"""Any SPARQL 1.1 endpoint, read with a query whose variables name the fields: kind `sparql`.

    SELECT ?subject ?object ?subject_label ?object_label WHERE { … }

No other mapping is needed.  Each poll reads the complete result, in pages of complete subjects, and
compares it with the previous one, because general graphs have no versions or deletion log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import pydantic
from pydantic import Field

from connectors.border import shown
from connectors.current import current_triples
from connectors.errors import ConnectorError, SourceDataError, UnexpectedAnswer
from connectors.http.client import stepwise
from connectors.http.paging import in_pages
from connectors.http.sparql_client import ASK_FOR_LESS, SparqlClient
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.observations import LITERAL, Health, Poll, Triple
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.shape import FIELDS
from connectors.rows.whole_reading import WholeCursor, WholeReading, next_revision, rewound
from connectors.settings import Context, HttpSettings, SparqlAccess, parse
from connectors.terms import Solution

_SMALLEST_PAGE = 50
_PROLOGUE = re.compile(r"(?:\s*(?:#[^\n]*\n|PREFIX\s+\S*\s*<[^>]*>|BASE\s+<[^>]*>))*", re.IGNORECASE)


class SparqlSettings(HttpSettings, SparqlAccess, MappingSettings):
    """One query at one endpoint."""

    kind: Literal["sparql"]
    query: str = Field(description=f"SELECT query; its variables are among {', '.join(FIELDS)}")
    languages: tuple[str, ...] = Field(("en", "mul"), description="Languages of labels, best first")
    rows_per_request: int = Field(5_000, ge=2, description="Rows per request")
    slots_per_step: int = Field(400, ge=1, description="Slots committed per step")
    max_vanished: float = Field(0.2, ge=0, le=1, description="Maximum share of slots that may vanish at once")

    @pydantic.model_validator(mode="after")
    def _selects_what_is_needed(self) -> SparqlSettings:
        for name in ("subject", "object"):
            variable = self.columns.get(name, name)
            if not re.search(rf"[?$]{re.escape(variable)}\b", self.query):
                raise ValueError(f"query: does not select ?{variable}")
        return self


class SparqlConnector:
    """Kind `sparql`."""

    def __init__(self, name: str, settings: SparqlSettings, client: SparqlClient, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._client = client
        self._context = context
        self._namespaces = Namespaces({**WIKIDATA, **settings.prefixes})
        self._prologue, select = split_prologue(settings.query)
        self._rows = f"{{ {select} }}"
        self._subject = settings.columns.get("subject", "subject")
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which everything is delivered again: the query says nothing of when a row changed."""
        return rewound(cursor)

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        return self._in_time(self._poll(cursor))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        return self._in_time(self._snapshot(slots))

    def _poll(self, cursor: str | None) -> Iterator[Poll]:
        held = WholeCursor.load(cursor)
        mapper = self._mapped(self._everything())
        yield from self._whole.steps(mapper, held, self._context.clock.now())

    def _snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        # A subject whose prefix was removed from the settings cannot be queried; its stored slots stay.
        asked = {slot for slot in slots if self._namespaces.expands(slot[0])}
        subjects = sorted({subject for subject, _ in asked})
        for some, found in in_pages(subjects, self._settings.slots_per_step, self._slots_of):
            here = {slot for slot in asked if slot[0] in set(some)}
            yield self._whole.snapshot(found, here, self._context.clock.now())

    def _in_time(self, steps: Iterator[Poll]) -> Iterator[Poll]:
        return stepwise(steps, [self._client.requester], self._settings.step_deadline_s)

    def _begin(self) -> None:
        """Start the time allowance of a request outside a poll, which counts as one step."""
        self._client.requester.allow(self._settings.step_deadline_s)

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        if object_id and not object_id.startswith(LITERAL) and not self._namespaces.expands(object_id):
            return ()
        self._begin()
        # Some holders no longer have the object as a current value, so more are fetched than requested.
        query = (
            f"SELECT DISTINCT ?{self._subject} WHERE {{ {self._rows} {self._is_object(object_id)} }} "
            f"LIMIT {3 * limit}"
        )
        rows = self._client.select(self._prologue + query)
        holders = sorted({self._namespaces.compact(iri) for row in rows if (iri := self._subject_of(row))})
        triples = self._current(holders, {relation})
        return tuple([triple for triple in triples if object_id in (None, triple.object.id)][:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        if not self._namespaces.expands(subject_id):
            return ()
        self._begin()
        return tuple(self._current([subject_id])[:limit])

    def check(self) -> Health:
        self._begin()
        extra = {"endpoint": self._client.endpoint}
        try:
            rows = self._client.select(f"{self._prologue} SELECT * WHERE {{ {self._rows} }} LIMIT 1")
        except ConnectorError as error:
            return Health(False, str(error), extra=extra, lasting=error.lasting)
        return Health(bool(rows), "answers" if rows else "the query finds nothing", extra=extra)

    def close(self) -> None:
        self._client.close()

    def _current(self, ids: Sequence[str], relations: set[str] | None = None) -> list[Triple]:
        now = self._context.clock.now()
        if not ids:
            return []
        observations = self._slots_of(ids, False).observations(next_revision(now, 0), now)
        return current_triples((o for o in observations if not relations or o.relation in relations), now)

    def _slots_of(self, ids: Sequence[str], splittable: bool) -> Mapper:
        """All rows about the subjects."""
        iris = " ".join(f"<{self._namespaces.expand(id)}>" for id in ids)
        query = f"{self._prologue} SELECT * WHERE {{ VALUES ?{self._subject} {{ {iris} }} {self._rows} }}"
        return self._mapped(self._client.select(query, splittable=splittable))

    def _everything(self) -> Iterator[Solution]:
        """The rows of the whole query: in one response if it fits, else in pages."""
        try:
            rows = self._client.select(self._settings.query, splittable=True)
        except ASK_FOR_LESS:
            yield from self._pages()
        else:
            yield from rows

    def _pages(self) -> Iterator[Solution]:
        """Rows ordered by subject, in pages that never split a subject.

        Raises SourceDataError for a subject whose rows do not fit into one response.
        """
        size, too_many, after = self._settings.rows_per_request, self._settings.max_rows + 1, ""
        while True:
            try:
                rows = self._page(after, size)
            except ASK_FOR_LESS:
                if size <= _SMALLEST_PAGE:
                    raise
                too_many, size = size, size // 2
                continue
            if len(rows) < size:
                yield from rows
                return
            subjects = sorted({subject for row in rows if (subject := self._subject_of(row))})
            if len(subjects) < 2:  # one subject fills the page, so a larger page is needed
                if 2 * size >= too_many:
                    raise SourceDataError(
                        f"{self._client.endpoint}: {shown(subjects[0]) if subjects else 'what has no subject'} "
                        f"has more than {size} rows, which is more than one answer can hold"
                    )
                size *= 2
                continue
            # The page may have cut off the last subject's rows: the next page reads that subject again.
            yield from (row for row in rows if self._subject_of(row) != subjects[-1])
            after = subjects[-2]

    def _page(self, after: str, size: int) -> list[Solution]:
        key = f"STR(?{self._subject})"
        query = (
            f"{self._prologue} SELECT * WHERE {{ {self._rows} FILTER({key} > {_quoted(after)}) }} "
            f"ORDER BY {key} LIMIT {size}"
        )
        rows = self._client.select(query, splittable=size > _SMALLEST_PAGE)
        if any(subject <= after for row in rows if (subject := self._subject_of(row))):
            raise UnexpectedAnswer(f"{self._client.endpoint}: a page repeats rows of earlier pages")
        return rows

    def _subject_of(self, row: Solution) -> str | None:
        term = row.get(self._subject)
        return None if term is None or term.kind == "unusable" else term.value

    def _mapped(self, rows: Iterable[Solution]) -> Mapper:
        settings = self._settings
        mapper = Mapper(self.name, settings, settings.languages)
        unbound = dict.fromkeys((*FIELDS, *settings.columns.values()))
        return mapper.add_all((number, unbound | row) for number, row in enumerate(rows, 1))

    def _is_object(self, id: str | None) -> str:
        if id is None:
            return ""
        variable = f"?{self._settings.columns.get('object', 'object')}"
        if id.startswith(LITERAL):
            return f"FILTER(STR({variable}) = {_quoted(id.removeprefix(LITERAL))})"
        return f"FILTER({variable} = <{self._namespaces.expand(id)}>)"


def split_prologue(query: str) -> tuple[str, str]:
    """Split off the PREFIX and BASE declarations, so that the SELECT can be used as a subquery."""
    match = _PROLOGUE.match(query)
    end = match.end() if match else 0
    return query[:end].strip(), query[end:].strip()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def connect(name: str, settings: Mapping[str, Any], context: Context) -> SparqlConnector:
    """The factory of kind `sparql`.  Raises SourceSettingsError."""
    parsed = parse(SparqlSettings, name, settings)
    client = SparqlClient(parsed.requester(parsed.endpoint, context), parsed.credentials)
    return SparqlConnector(name, parsed, client, context)
