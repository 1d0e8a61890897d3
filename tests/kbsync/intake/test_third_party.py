"""Whatever a connector of another package hands over, only the slots that hold it are left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SourceDataError
from connectors.observations import Entity, Observation, Poll, Statement
from connectors.third_party import CheckedConnector
from kbsync.intake.report import IntakeReport
from tests.support.admission_world import OpenWorld, Script, World, entity, observed, says
from tests.support.properties import SCALARS, drawing, editions

SURROGATE, NUL = "Mario \ud800", "Mario \x00"
STATEMENT, SUBJECT = says("conte"), entity("italy")


def of_subject(**parts: Any) -> Observation:
    return observed(replace(SUBJECT, **parts), "conte")


def of_statement(**parts: Any) -> Observation:
    return observed("italy", replace(STATEMENT, **parts))


def of_slot(**parts: Any) -> Observation:
    return replace(observed("italy", "conte"), **parts)


HOSTILE = {
    "label with a lone surrogate": of_subject(label=SURROGATE),
    "id with NUL": of_subject(id="wd:\x00"),
    "empty id": of_subject(id=""),
    "id without a prefix": of_subject(id="italy"),
    "id that no index takes": of_subject(id="wd:" + "\u6771" * 1_000),
    "literal that no index takes": of_statement(
        kind="literal", object=Entity("lit:" + "\u6771" * 1_000, "\u6771")
    ),
    "id with a newline": of_subject(id="wd:a\nb"),
    "id with a mark that reverses text": of_subject(id="wd:\u202eQ38"),
    "relation without a prefix": of_slot(relation="P6"),
    "id that is bytes": of_subject(id=b"wd:Q38"),
    "label that is a number": of_subject(label=38),
    "alias that is None": of_subject(aliases=(None,)),
    "aliases as one text": of_subject(aliases="Italia"),
    "label of a megabyte": of_subject(label="a" * 2**20),
    "references of 5,000 digits": of_statement(references=10**5000),
    "references below zero": of_statement(references=-1),
    "unknown rank": of_statement(rank="best"),
    "entity without an object": of_statement(object=None),
    "object that is a text": of_statement(object="Conte"),
    "literal under an entity's id": of_statement(kind="literal"),
    "no-value with an object": of_statement(kind="novalue"),
    "object with a lone surrogate": of_statement(object=Entity("wd:conte", SURROGATE)),
    "start that is a text": of_statement(start="2026"),
    "start without a time zone": of_statement(start=datetime(2026, 1, 1)),
    "statement that is a dict": observed("italy", {"id": "s"}),  # type: ignore[arg-type]
    "statements as a generator": of_slot(statements=iter((STATEMENT,))),
    "two statements of one id": observed("italy", STATEMENT, replace(STATEMENT, object=entity("draghi"))),
    "revision that is a text": of_slot(revision="7"),
    "revision beyond every database": of_slot(revision=2**70),
    "revision that is true": of_slot(revision=True),
    "another source's name": of_slot(source="wikidata"),
    "instant without a time zone": of_slot(observed=datetime(2024, 1, 1)),
    "relation that is None": of_slot(relation=None),
    "no observation at all": {"subject": "wd:Q38"},
    "None": None,
}


def pulled(world: World, *steps: Poll) -> IntakeReport:
    world.kb.steps.extend(steps)
    return world.intake.pull(CheckedConnector("kb", world.kb), bootstrap=True)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_slot_that_cannot_be_used_is_rejected_by_itself_and_counted(kind: str, world: World) -> None:
    report = pulled(world, Poll((observed("spain", "perez"), HOSTILE[kind]), "1"))  # type: ignore[arg-type]
    assert world.wanted() == {"spain": "Perez"}
    assert report.rejected == 1
    with world.state.read() as tx:
        health = tx.source_health(["kb"])["kb"]
    assert health.rejected == 1
    assert "1 of a step's slots cannot be used; the first: " in health.reject
    assert health.reject.isprintable()


def test_the_count_is_that_of_the_latest_reading(world: World) -> None:
    pulled(world, Poll((of_subject(label=SURROGATE),), "1"))
    pulled(world, Poll((observed("spain", "perez"),), "2"))
    with world.state.read() as tx:
        assert tx.source_health(["kb"])["kb"].rejected == 0


@pytest.mark.parametrize(
    "step",
    [None, "step", {"observations": ()}, Poll((), 7), Poll((), "\ud800"), Poll(7, "1")],  # type: ignore[arg-type]
)
def test_what_is_no_step_or_no_cursor_ends_the_reading_with_an_error_of_the_source(
    step: Any, world: World
) -> None:
    with pytest.raises(SourceDataError):
        pulled(world, step)
    with world.state.read() as tx:
        assert tx.cursor("kb") is None


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_neighbours_that_cannot_be_used_are_left_out(limit: int) -> None:
    script = Script("kb")
    script.tell(observed("spain", "perez"), of_subject(label=NUL))
    found = CheckedConnector("kb", script).neighbours("wdt:P6", None, limit)
    assert [one.subject.id for one in found] == ["wd:spain"][:limit]


PARTS = {
    Entity: ("id", "label", "aliases", "living"),
    Statement: ("id", "kind", "object", "rank", "start", "end", "references"),
    Observation: ("source", "subject", "relation", "statements", "revision", "modified", "observed", "gone"),
}


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good slot with one of its parts, at any level, replaced by anything."""
    value = draw(SCALARS | st.lists(SCALARS).map(tuple))
    level = draw(st.sampled_from(list(PARTS)))
    change = {draw(st.sampled_from(PARTS[level])): value}
    if level is Observation:
        return of_slot(**change)
    return of_statement(**change) if level is Statement else of_subject(**change)


@editions(quick=60)
def test_whatever_one_slot_holds_the_ledger_takes_the_others(examples: int, open_world: OpenWorld) -> None:
    world = open_world()
    revision = 0

    @drawing(examples)
    @given(mutated())
    def holds(slot: Any) -> None:
        nonlocal revision
        revision += 1
        good = observed("spain", "perez", revision=revision)
        report = pulled(world, Poll((good, slot), str(len(world.kb.steps) + 1)))
        assert report.observations + report.rejected == 2
        assert world.wanted()["spain"] == "Perez"

    holds()
