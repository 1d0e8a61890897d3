"""SPARQL over HTTP: SPARQLWrapper builds the request, and `connectors.http.exchange` sends it within limits.

SPARQLWrapper 2.0 knows the protocol (POST, content negotiation, authentication: W3C SPARQL 1.1 Protocol,
section 2.1.2).  Its own transport is not used: it follows redirects to anywhere, ftp included, with the
credentials, times out per socket read only, and turns a cut body into a JSON error.
"""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import Any

import httpx
import pydantic
from SPARQLWrapper import BASIC, JSON, POST, SPARQLWrapper

from connectors.border import decode_json, shown, whole_number
from connectors.errors import (
    AnswerTooLarge,
    SourceDataError,
    SourceTimeout,
    TruncatedAnswer,
    UnexpectedAnswer,
)
from connectors.http.client import HttpAnswer, Requester
from connectors.http.exchange import Deadline
from connectors.terms import Solution, Term, well_formed_term

ASK_FOR_LESS = (SourceTimeout, TruncatedAnswer, AnswerTooLarge)
"""The errors that a smaller page may avoid (compare `connectors.http.paging`)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """For HTTP basic authentication."""

    user: str
    password: pydantic.SecretStr


class _Protocol(SPARQLWrapper):  # type: ignore[misc]
    """SPARQLWrapper without its transport.  One for each query: an instance is not thread-safe."""

    def request(self) -> urllib.request.Request:
        request: urllib.request.Request = self._createRequest()
        return request


class SparqlClient:
    """Queries to one SPARQL endpoint.  Thread-safe."""

    def __init__(self, requester: Requester, credentials: Credentials | None = None) -> None:
        self.requester = requester
        self._credentials = credentials

    @property
    def endpoint(self) -> str:
        return self.requester.url

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """The solutions of a SELECT query, in the order they came.

        With `splittable`, the errors ASK_FOR_LESS come back at once instead of being retried, because
        the caller will ask for a smaller page.  Raises the ConnectorError tree.
        """
        return self.requester.attempt(
            lambda deadline: self._solutions(query, deadline), give_up_on=ASK_FOR_LESS if splittable else ()
        )

    def close(self) -> None:
        self.requester.close()

    def _solutions(self, query: str, deadline: Deadline) -> list[Solution]:
        answer = self.requester.fetch(self._request(query), deadline)
        solutions = parse_solutions(self.endpoint, answer)
        cap = answer.headers.get("X-SPARQL-MaxRows", "")
        if re.fullmatch("[0-9]{1,9}", cap) and len(solutions) >= whole_number(cap, "X-SPARQL-MaxRows"):
            # Virtuoso cuts results at its ResultSetMaxRows silently but for this header.
            raise TruncatedAnswer(f"{self.endpoint}: the server cut the answer at {cap} rows")
        return solutions

    def _request(self, query: str) -> httpx.Request:
        protocol = _Protocol(self.endpoint, returnFormat=JSON)
        protocol.setMethod(POST)
        protocol.setOnlyConneg(True)
        if self._credentials:
            protocol.setHTTPAuth(BASIC)
            protocol.setCredentials(self._credentials.user, self._credentials.password.get_secret_value())
        protocol.setQuery(query)
        written = protocol.request()
        assert isinstance(written.data, bytes)  # the form of a POST
        headers = dict(written.header_items())
        return httpx.Request(written.get_method(), written.full_url, headers=headers, content=written.data)


def parse_solutions(endpoint: str, answer: HttpAnswer) -> list[Solution]:
    """The solutions of a SPARQL JSON result (SPARQL 1.1 Query Results JSON Format).

    A term that cannot be used gets the kind `unusable`: only its row is rejected.  Raises
    UnexpectedAnswer for another content type or shape, TruncatedAnswer for JSON that breaks off: a server
    that runs into its own time limit while streaming has already sent status 200.
    """
    if "json" not in answer.content_type:
        start = shown(answer.body[:120].decode("utf-8", "replace"), 120)
        raise UnexpectedAnswer(
            f"{endpoint}: expected SPARQL JSON results, got {shown(answer.content_type)}: {start}"
        )
    try:
        document = decode_json(answer.body, endpoint, max(1, len(answer.body)))
    except AnswerTooLarge:
        raise
    except SourceDataError as error:
        if isinstance(error.__cause__, ValueError):  # not JSON, or not UTF-8 where it was cut
            raise TruncatedAnswer(f"{error} ({len(answer.body)} bytes received)") from error
        raise UnexpectedAnswer(str(error)) from error
    try:
        rows = document["results"]["bindings"]
        if not isinstance(rows, list):  # `{}` and "" would pass for an empty answer
            raise TypeError(f"bindings are {shown(rows)}")
        return [{name: _term(term) for name, term in row.items()} for row in rows]
    except (KeyError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(f"{endpoint}: JSON, but not a SPARQL result: {shown(str(error))}") from error


def _term(term: Any) -> Term:
    if not isinstance(term, dict):
        return Term("unusable", f"a term is {shown(term)}")
    kind, value = term.get("type"), term.get("value")
    datatype, language = term.get("datatype"), term.get("xml:lang")
    if not isinstance(value, str):
        return Term("unusable", f"the value of a term of type {shown(kind)} is {shown(value)}, not a string")
    if not isinstance(datatype, str | None) or not isinstance(language, str | None):
        return Term("unusable", f"datatype or language of the term {shown(value)} is not a string")
    if kind == "uri" or kind == "bnode":
        return well_formed_term(kind, value)
    # Virtuoso still writes "typed-literal", as the 2007 draft of the format did.
    if kind in ("literal", "typed-literal"):
        return well_formed_term("literal", value, datatype, language)
    return Term("unusable", f"unknown type of term {shown(kind)}")
