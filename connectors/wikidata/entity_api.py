"""Reads entities from the wiki's action API, fifty at a time: `wbgetentities` ("Wikibase/API").

Like `Special:EntityData` it is never behind, but it takes one request for many entities, so a list of thousands can be
read within Wikimedia's limits.  `maxlag` asks the wiki to refuse while its replicas lag, as its API etiquette wants.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from connectors.border import decode_json, shown
from connectors.errors import SourceDataError, SourceThrottled, UnexpectedAnswer
from connectors.http.client import Requester
from connectors.http.exchange import Deadline
from connectors.http.paging import in_pages
from connectors.http.sparql_client import ASK_FOR_LESS
from connectors.http.status import retry_after_s
from connectors.wikidata.dump.entities import Document, EntityShape
from connectors.wikidata.reader import GraphReader, SubjectState
from connectors.wikidata.rows import Subject
from connectors.wikidata.vocabulary import Vocabulary

_log = logging.getLogger(__name__)
BATCH = 50
"""Entities in one request: the limit for clients that are not bots."""
_PASSING = ("maxlag", "ratelimited", "readonly")
"""Errors that ask for patience; they come with status 200."""
_LAGGED_S = 5.0
"""The pause after a refusal because of lag, where the wiki names none."""


class EntityApi:
    """`api.php` of one wiki; labels of objects come from `labels`."""

    def __init__(
        self,
        requester: Requester,
        shape: EntityShape,
        vocabulary: Vocabulary,
        labels: GraphReader,
        maxlag: int,
    ) -> None:
        self.requester = requester
        self._shape, self._vocabulary, self._labels = shape, vocabulary, labels
        self._maxlag = maxlag

    def states(self, ids: Sequence[str], relations: Sequence[str]) -> dict[str, SubjectState]:
        """The entities as they are now; those that do not exist, were merged, or cannot be used are left out.

        Raises the ConnectorError tree.
        """
        pids = [self._vocabulary.property_id(relation) for relation in relations]
        subjects: dict[str, Subject] = {}
        for _, documents in in_pages(ids, BATCH, self._fetch):
            for id, body in documents.items():
                try:
                    subject = self._shape.subject(Document(id.rpartition(":")[2], body), pids)
                except SourceDataError as error:
                    _log.warning("%s cannot be read at the wiki: %s", id, error)
                    continue
                subjects[self._vocabulary.namespaces.expand(id)] = subject
        return self._labels.states_of(subjects, relations)

    def close(self) -> None:
        self.requester.close()

    def _fetch(self, ids: Sequence[str], splittable: bool) -> dict[str, Mapping[str, Any]]:
        """The JSON documents of at most BATCH entities, by id."""
        local = {id.rpartition(":")[2]: id for id in ids}
        params = {
            "action": "wbgetentities",
            "format": "json",
            "ids": "|".join(local),
            "props": "info|labels|aliases|claims",
            "maxlag": str(self._maxlag),
        }
        entities = self.requester.attempt(
            lambda deadline: self._entities(params, deadline), give_up_on=ASK_FOR_LESS if splittable else ()
        )
        return {
            local[name]: body
            for name, body in entities.items()
            if name in local and isinstance(body, dict) and "missing" not in body and body.get("id") == name
        }

    def _entities(self, params: Mapping[str, str], deadline: Deadline) -> Mapping[str, Any]:
        url = self.requester.url
        answer = self.requester.fetch(httpx.Request("GET", url, params=params), deadline)
        document = decode_json(answer.body, url, self.requester.limits.max_bytes)
        if not isinstance(document, dict):
            raise UnexpectedAnswer(f"{url}: expected an object, got {shown(document)}")
        if error := document.get("error"):
            what, code = f"{url}: {shown(error)}", error.get("code") if isinstance(error, dict) else None
            if code in _PASSING:
                wait = retry_after_s(answer.headers.get("Retry-After"), self.requester.clock.now())
                raise SourceThrottled(what, _LAGGED_S if wait is None else wait)
            raise SourceDataError(what)
        entities = document.get("entities")
        if not isinstance(entities, dict):
            raise UnexpectedAnswer(f"{url}: JSON without `entities`")
        return entities
