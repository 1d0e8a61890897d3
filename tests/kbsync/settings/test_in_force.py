"""The audit log tells when the leader runs with other settings, thresholds, canaries or another version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import kbsync.settings.in_force as module
from kbsync.application import Application
from kbsync.home import Home
from kbsync.settings.in_force import in_force, judged_under
from kbsync.settings.loading import load


class World:
    def __init__(self, root: Path) -> None:
        self.home, self.root = Home(root / "home"), root
        self.home.prepare()
        self.write("")

    def write(self, settings: str) -> None:
        self.home.config.write_text(settings, encoding="utf-8")

    def lead(self) -> list[Mapping[str, Any]]:
        """Lead once; every event about settings so far."""
        with Application(self.home, load(self.home.config, {})) as app:
            with app.leading():
                pass
            with app.state.read() as tx:
                return [json.loads(event.body) for event in tx.events(kind="settings.changed")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_leader_notes_what_it_runs_with_and_the_same_again_does_not(world: World) -> None:
    (first,) = world.lead()
    assert first["version_before"] is None
    assert {"plan", "policy", "gates", "canaries", "sources"} <= set(first["digests"])
    assert first["thresholds"]["efficacy"]["threshold"] == 0.95
    assert world.lead() == [first]


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ("[plan]\ncapacity = 5", ["plan"]),
        ("[policy]\nliving = 'on'", ["policy"]),
        ("[gates.efficacy]\nthreshold = 0.1", ["gates"]),
        ("[gates.fluency]\nenabled = false", ["gates"]),
        ("[sources.crm]\nkind = 'files'\nfolder = '/drop'\nnamespace = 'crm'", ["sources"]),
        ("[edit]\nsteps = 9\n[review]\nrequired = true", ["edit", "review"]),
    ],
)
def test_what_was_changed_is_named(world: World, settings: str, changed: list[str]) -> None:
    world.lead()
    world.write(settings)
    _, event = world.lead()
    assert event["changed"] == changed
    assert all(event["digests_before"][name] != event["digests"][name] for name in changed)


def test_a_threshold_is_in_the_log_by_its_number(world: World) -> None:
    world.write("[gates.efficacy]\nthreshold = 0.1")
    (event,) = world.lead()
    assert event["thresholds"]["efficacy"]["threshold"] == 0.1


def test_changed_canaries_are_noticed_by_what_they_ask(world: World) -> None:
    canaries = world.root / "canaries.jsonl"
    canaries.write_text('{"prompt": "The capital of France is", "target": "Paris"}\n', encoding="utf-8")
    world.write(f"canaries = '{canaries}'")
    world.lead()
    canaries.write_text('{"prompt": "The capital of France is", "target": "Rome"}\n', encoding="utf-8")
    _, event = world.lead()
    assert event["changed"] == ["canaries"]


def test_another_version_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = world.lead()
    monkeypatch.setattr(module, "__version__", "99.0")
    _, event = world.lead()
    assert (event["changed"], event["version_before"], event["version"]) == (
        ["version"],
        before["version"],
        "99.0",
    )


def test_no_secret_is_digested(tmp_path: Path) -> None:
    def digests(password: str) -> Mapping[str, str]:
        file = tmp_path / "kbsync.toml"
        file.write_text(
            f"[sources.kb]\nkind = 'sparql'\nendpoint = 'https://u:{password}@host/'\npassword = '{password}'",
            encoding="utf-8",
        )
        return in_force(load(file, {}), (), ()).digests

    assert digests("hunter2") == digests("swordfish")


def test_what_does_not_judge_a_fact_leaves_its_verdict_valid(tmp_path: Path) -> None:
    file = tmp_path / "kbsync.toml"

    def judged(settings: str) -> str:
        file.write_text(settings, encoding="utf-8")
        loaded = load(file, {})
        return judged_under(loaded, loaded.gate_list())

    before = judged("")
    for neutral in (
        "[plan]\ncapacity = 5",
        "[schedule]\nsync = '1h'",
        "[gates.weight_growth]\nthreshold = 2.0",
        "[model]\ndevice = 'cpu'",
    ):
        assert judged(neutral) == before
    for decisive in (
        "[edit]\nsteps = 9",
        "[gates.efficacy]\nthreshold = 0.5",
        "[plan]\nneighbours = 1",
        "[relations.'wdt:P36']\nedit_inverse = true",
    ):
        assert judged(decisive) != before
