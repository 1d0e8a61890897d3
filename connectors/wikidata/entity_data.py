"""Reads an entity at one revision from the wiki itself, which is authoritative.

`Special:EntityData/Q42.ttl?revision=N&flavor=dump` is never behind, while replicas of the query
service lag, each its own way.  It has the same RDF shape as dumps, so the same queries read it.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.border import shown
from connectors.errors import SourceRefused, UnexpectedAnswer
from connectors.http.client import Requester
from connectors.wikidata.isolated_graph import GraphProcess
from connectors.wikidata.reader import GraphReader, SubjectState


class EntityData:
    """Reads entities over HTTP; labels of their objects come from `labels`."""

    def __init__(self, requester: Requester, labels: GraphReader) -> None:
        self.requester = requester
        self._labels = labels
        self._graphs = GraphProcess(requester.limits.deadline_s)

    def state(self, id: str, revision: int | None, relations: Sequence[str]) -> SubjectState | None:
        """The entity as it was at `revision` (now, if None); None if the wiki has no such thing.

        Raises the ConnectorError tree.
        """
        params = {"flavor": "dump"} | ({"revision": str(revision)} if revision else {})
        url = f"{self.requester.url.rstrip('/')}/{id.rpartition(':')[2]}.ttl"
        try:
            answer = self.requester.get(url, params)
        except SourceRefused as error:
            if error.status in (404, 410):
                return None
            raise
        if "turtle" not in answer.content_type:
            raise UnexpectedAnswer(f"{url}: expected Turtle, got {shown(answer.content_type)}")
        reader = self._labels.over(self._graphs.load(answer.body, url))
        return next((states.get(id) for _, states in reader.states([id], relations, 1)), None)

    def close(self) -> None:
        self.requester.close()
        self._graphs.close()
