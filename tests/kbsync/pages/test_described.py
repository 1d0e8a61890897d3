"""The published description (`/openapi.json`), and what schemathesis makes of it."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from kbsync.pages.app import ROUTERS
from tests.support.reviewed import SCRIPT, Reviewed

QUIETLY = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
]
SLOW = ("/ask", "/survey", "/sync")
"""A POST there starts a process."""


def test_every_address_is_described_with_its_form_and_its_statuses(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]
    routes = [route for part in ROUTERS for route in part.router.routes if isinstance(route, APIRoute)]
    for route in routes:
        if not route.include_in_schema:
            continue
        for method in route.methods:
            operation = described[route.path][method.lower()]
            assert {"200", "303", "401", "403", "404", "409", "422"} <= set(operation["responses"]), (
                route.path
            )
            if method == "POST":
                form = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
                assert form["properties"], route.path
                assert all(one["description"] for one in form["properties"].values())


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_no_request_breaks_an_address_or_is_answered_as_nobody_said(
    client: httpx.Client, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    tried = 0
    statuses: list[int] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        tried += 1
        examples = 3 if operation.path in SLOW and operation.method == "post" else 15

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples,
            deadline=None,
            suppress_health_check=QUIETLY,
            database=None,
            phases=[Phase.generate],
        )
        def holds(case: Case) -> None:
            answer = case.call_and_validate(checks=[not_a_server_error, status_code_conformance], timeout=120)
            statuses.append(answer.status_code)

        try:
            holds()
        except Exception as error:
            if "Unsatisfiable" in type(error).__name__:
                continue  # an address without any field cannot be asked wrongly
            raise
    assert tried > 30
    assert len(statuses) > 100


ADDRESSES = (
    "/quarantine/decide",
    "/quarantine/1/approve",
    "/facts/1/retract",
    "/runs/1/approve",
    "/runs/1/reject",
    "/checkpoints/rollback",
    "/checkpoints/1/pin",
    "/sign-in",
    "/sign-out",
)
NAMES = st.sampled_from(
    ["reason", "key", "version", "word", "fact", "to", "live", "digest", "rehearse", "token", "x"]
)
VALUES = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e9",
            "٣",
            str(2**63),
            "9" * 400,
            SCRIPT,
            "\u202e",
            "' OR 1=1 --",
            "../../etc",
            "1:",
            ":",
        ]
    ),
)


def fuzz(client: httpx.Client, examples: int) -> None:
    """Forms with any fields, and bodies that are no forms: refused or carried out, and never an error of the server."""

    @given(
        st.sampled_from(ADDRESSES),
        st.lists(st.tuples(NAMES, VALUES), max_size=8),
        st.binary(max_size=200),
        st.booleans(),
    )
    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIETLY, database=None)
    def holds(address: str, fields: list[tuple[str, str]], raw: bytes, as_form: bool) -> None:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        text = str(
            httpx.QueryParams([(name, value.encode("utf-8", "replace").decode()) for name, value in fields])
        )
        answer = client.post(address, content=text.encode() if as_form else raw, headers=kind)
        assert answer.status_code in (200, 303, 400, 401, 404, 409, 413, 422), answer.text
        assert SCRIPT not in answer.text

    holds()


def test_no_form_breaks_a_page(home: Reviewed, client: httpx.Client) -> None:
    fuzz(client, 40)
    assert home.place.application().state.audit.verify_tables().ok


@pytest.mark.slow
def test_no_form_of_very_many_breaks_a_page(home: Reviewed, client: httpx.Client) -> None:
    fuzz(client, 600)
    assert home.place.application().state.audit.verify_tables().ok
