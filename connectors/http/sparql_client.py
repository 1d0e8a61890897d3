"""SPARQL over SPARQLWrapper, with its sharp edges wrapped.

SPARQLWrapper 2.0 is not thread-safe, times out per socket read only, hands 429 and 503 through raw
and turns a cut body into a JSON error.  So: one instance a call, POST (W3C SPARQL 1.1 Protocol,
section 2.1.2), content negotiation alone, our own reading of the body, our own errors.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
from dataclasses import dataclass
from typing import Any

from SPARQLWrapper import BASIC, JSON, POST, SPARQLWrapper
from SPARQLWrapper.SPARQLExceptions import (
    EndPointInternalError,
    EndPointNotFound,
    QueryBadFormed,
    SPARQLWrapperException,
    Unauthorized,
    URITooLong,
)

from connectors.errors import (
    AnswerTooLarge,
    SourceTimeout,
    SourceUnavailable,
    TruncatedAnswer,
    UnexpectedAnswer,
)
from connectors.http.client import Check, Requester, error_of, read_bounded
from connectors.terms import Solution, Term

_STATUS_OF: dict[type[SPARQLWrapperException], int] = {
    QueryBadFormed: 400,
    Unauthorized: 401,
    EndPointNotFound: 404,
    URITooLong: 414,
    EndPointInternalError: 500,
}

ASK_FOR_LESS = (SourceTimeout, TruncatedAnswer, AnswerTooLarge)
"""The errors that a smaller page may avoid (compare `connectors.paging`)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str


class SparqlClient:
    """Queries to one SPARQL endpoint.  Thread-safe; holds no connection."""

    def __init__(self, requester: Requester, credentials: Credentials | None = None) -> None:
        self._requester = requester
        self._credentials = credentials

    @property
    def endpoint(self) -> str:
        return self._requester.url

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """The rows of a SELECT query, in the order they came; unbound variables are absent.

        With `splittable`, the errors ASK_FOR_LESS come back at once instead of being retried, because
        the caller will ask for a smaller page.  Raises the ConnectorError tree.
        """
        return self._requester.attempt(
            lambda check: self._rows(query, check), give_up_on=ASK_FOR_LESS if splittable else ()
        )

    def _rows(self, query: str, check: Check) -> list[Solution]:
        headers, body = self._post(query, check)
        rows = parse_rows(self.endpoint, headers.get("Content-Type", ""), body)
        cap = headers.get("X-SPARQL-MaxRows", "")
        if cap.isdigit() and len(rows) >= int(cap):
            # Virtuoso cuts results at its ResultSetMaxRows silently but for this header.
            raise TruncatedAnswer(f"{self.endpoint}: the server cut the answer at {cap} rows")
        return rows

    def _post(self, query: str, check: Check) -> tuple[Any, bytes]:
        wrapper = SPARQLWrapper(self.endpoint, agent=self._requester.agent, returnFormat=JSON)
        wrapper.setMethod(POST)
        wrapper.setOnlyConneg(True)
        wrapper.setTimeout(max(1, self._requester.limits.timeout_s))
        if self._credentials:
            wrapper.setHTTPAuth(BASIC)
            wrapper.setCredentials(self._credentials.user, self._credentials.password)
        wrapper.setQuery(query)
        now = self._requester.clock.now
        try:
            response = wrapper.query().response
            with response:
                length = response.headers.get("Content-Length")
                expected = int(length) if length and length.isdigit() else None
                most = self._requester.limits.max_bytes
                body = read_bounded(self.endpoint, response.read1, most, check, expected)
        except tuple(_STATUS_OF) as error:
            raise error_of(self.endpoint, _STATUS_OF[type(error)], {}, _excerpt(error), now()) from error
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(300).decode("utf-8", "replace")
                raise error_of(self.endpoint, error.code, dict(error.headers), detail, now()) from error
        except http.client.IncompleteRead as error:
            raise TruncatedAnswer(f"{self.endpoint}: the body ended early ({error})") from error
        except TimeoutError as error:
            silence = self._requester.limits.timeout_s
            raise SourceTimeout(f"{self.endpoint}: silent for {silence} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self.endpoint, error) from error
        return response.headers, body


def parse_rows(endpoint: str, content_type: str, body: bytes) -> list[Solution]:
    """Rows of a SPARQL JSON result.

    Raises UnexpectedAnswer for another content type or shape, TruncatedAnswer for JSON that breaks off:
    a server that runs into its own time limit while streaming has already said 200.
    """
    if "json" not in content_type:
        start = body[:120].decode("utf-8", "replace")
        raise UnexpectedAnswer(f"{endpoint}: wanted SPARQL JSON results, got {content_type!r}: {start!r}")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise TruncatedAnswer(f"{endpoint}: the JSON breaks off ({error}; {len(body)} bytes)") from error
    try:
        return [{name: _term(term) for name, term in row.items()} for row in answer["results"]["bindings"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(f"{endpoint}: JSON, but not a SPARQL result: {error!r}") from error


def _term(term: dict[str, str]) -> Term:
    kind = term["type"]
    if kind in ("uri", "bnode"):
        return Term("uri" if kind == "uri" else "bnode", term["value"])
    # Virtuoso still says "typed-literal", as the 2007 draft of the format did.
    return Term("literal", term["value"], term.get("datatype"), term.get("xml:lang"))


def _unreachable(endpoint: str, error: OSError | http.client.HTTPException) -> SourceUnavailable:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return SourceTimeout(f"{endpoint}: no connection in time ({reason})")
    return SourceUnavailable(f"{endpoint} cannot be reached: {reason}")


def _excerpt(error: BaseException) -> str:
    text = str(error)
    return text if len(text) <= 600 else text[:400] + " … " + text[-200:]
