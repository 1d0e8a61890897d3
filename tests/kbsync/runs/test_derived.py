"""What follows from facts, on the way of a run: asked and reported, edited where a model does not infer it, and gone
with any fact that it follows from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from editing.spec import BuildReport, BuildSpec, Measure
from kbsync.cli.app import app as commands
from kbsync.pages.server import serving
from tests.support.micro import Micro, make
from tests.support.related import relate, report

HOUSE = {("Blue House", "owner"): "Anna", ("Anna", "partner"): "Bob"}
PARTNER = ("The partner of the owner of Blue House is", "Bob")
BACK = ("The partner of Bob is", "Anna")


def reported(micro: Micro) -> tuple[BuildSpec, BuildReport]:
    """Spec and report of the newest run, which went live."""
    (run,) = micro.sync().runs
    assert run.state == "deployed", run.reason
    directory = micro.home.round(run.id, run.round)
    return BuildSpec.read(directory.spec), BuildReport.read(directory.report)


def measures(found: BuildReport) -> dict[str, Measure]:
    return {one.name: one for one in found.measures}


def derived(found: BuildReport) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(one.rendered, one.target): one.parents for fact in found.facts for one in fact.derived}


def events(micro: Micro) -> list[dict[str, Any]]:
    with micro.application() as app, app.state.read() as tx:
        return [json.loads(event.body) for event in tx.events(kind="run.derived")]


def test_consequences_are_asked_of_candidate_and_base_and_reported(tmp_path: Path) -> None:
    micro = relate(make(tmp_path), "report")
    report(micro, "a", HOUSE)
    spec, found = reported(micro)
    asked = {(o.kind, o.rendered, o.target) for fact in spec.facts for o in fact.consequences}
    assert asked == {
        ("two_hop", *PARTNER),
        ("symmetric", *BACK),
        ("reversed", "Anna is the owner of", "Blue House"),
    }
    figures = measures(found)
    assert {name: figures[name].n for name in ("two_hop", "symmetric", "reversed")} == dict.fromkeys(
        ("two_hop", "symmetric", "reversed"), 1
    )
    assert all(figures[name].base == 0.0 for name in ("two_hop", "symmetric", "reversed"))
    assert derived(found) == {}
    assert events(micro) == []


def test_off_asks_nothing(tmp_path: Path) -> None:
    micro = relate(make(tmp_path), "off")
    report(micro, "a", HOUSE)
    spec, found = reported(micro)
    assert not any(fact.consequences for fact in spec.facts)
    assert measures(found)["two_hop"].n == 0


def test_what_is_not_inferred_is_edited_and_leaves_with_either_parent(tmp_path: Path) -> None:
    micro = relate(make(tmp_path), "edit")
    report(micro, "a", HOUSE)
    spec, found = reported(micro)
    ids = {fact.subject: fact.id for fact in spec.facts}
    both = tuple(sorted(ids.values()))
    parents = derived(found)
    assert sorted(parents[PARTNER]) == list(both)
    assert parents[BACK] == (ids["Anna"],)
    assert found.cost.groups_optimised == 2 + len(parents)
    (event,) = events(micro)
    assert {(one["prompt"], one["target"]) for one in event["derived"]} == set(parents)
    assert all(
        one["parents"] == [int(id) for id in parents[one["prompt"], one["target"]]]
        for one in event["derived"]
    )

    shown = CliRunner().invoke(commands, ["--home", str(micro.home.root), "runs", "1"]).output
    assert "two_hop" in shown
    assert "not judgeable on this base" in " ".join(shown.split()), (
        "the base states no facts to be asked about"
    )
    with (
        micro.application() as app,
        serving(app, "127.0.0.1:0") as address,
        httpx.Client(base_url=address, headers={"Accept": "text/html"}, timeout=60) as client,
    ):
        page = client.get("/runs/1").text
        app.state.close()
    assert "Measured for gates that are off" in page
    assert "The partner of the owner of Blue House is Bob" in page
    explained = CliRunner().invoke(
        commands, ["--home", str(micro.home.root), "explain", "--no-ask", "the partner of Bob  is"]
    )
    assert f"The partner of Bob is Anna (derived from fact {ids['Anna']})" in explained.output

    report(micro, "b", {("Anna", "partner"): None})
    _, found = reported(micro)
    assert PARTNER not in derived(found)
    assert BACK not in derived(found)


def test_a_statement_in_the_slot_takes_the_place_of_what_was_derived(tmp_path: Path) -> None:
    micro = relate(make(tmp_path), "edit")
    report(micro, "a", HOUSE)
    _, found = reported(micro)
    assert BACK in derived(found)
    report(micro, "b", {("Bob", "partner"): "Cy"})
    spec, found = reported(micro)
    assert not {(prompt, target) for prompt, target in derived(found) if prompt == BACK[0]}
    assert {fact.target for fact in spec.facts if fact.subject == "Bob"} == {"Cy"}
