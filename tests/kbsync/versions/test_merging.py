"""Two homes in one model: what the union holds, that conflicts are decided by a person, and what it is built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from editing.storage.checkpoints import verify
from kbsync.errors import BadConfiguration, UsageError
from kbsync.queries.answers import said
from kbsync.versions import merging
from kbsync.versions.building import views
from kbsync.versions.naming import Version, version
from state.event_queries import EventFilter
from tests.support.micro import Micro, make
from tests.support.shell import Shell

OWN = {"Blue House": "Anna", "Red Boat": "Carl", "Old Mill": "Emil"}
OTHER = {"Red Boat": "Dora", "Old Mill": "Emil", "Green Barn": "Fred"}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Micro, Micro]:
    """Two homes that edit the same base; of three facts each, one is the same, and one conflicts.

    A test that builds does so in a copy: a later one would find its δs in the cache.
    """
    own = make(tmp_path_factory.mktemp("own"))
    other = make(tmp_path_factory.mktemp("other"))
    for micro, facts in ((own, OWN), (other, OTHER)):
        micro.say(facts)
        assert [run.state for run in micro.sync().runs] == ["deployed"]
    return own, other


def live(micro: Micro) -> Version:
    with micro.application() as app:
        return version(app, "live", lambda text: app.now())


def stated(union: merging.Union) -> dict[str, str]:
    return {fact.subject_label: fact.target for fact in union.facts}


@pytest.mark.parametrize(
    ("prefer", "boat"), [(None, None), ("own", "Carl"), ("other", "Dora")], ids=["nobody", "own", "other"]
)
def test_the_union_has_every_fact_once_and_of_conflicting_ones_the_preferred(
    homes: tuple[Micro, Micro], prefer: merging.Side | None, boat: str | None
) -> None:
    union = merging.united(*map(live, homes), prefer)
    expected = {"Blue House": "Anna", "Old Mill": "Emil", "Green Barn": "Fred"}
    assert stated(union) == expected | ({"Red Boat": boat} if boat else {})
    assert len(union.facts) == len(stated(union))
    assert [(one.own.target, one.other.target) for one in union.conflicts] == [("Carl", "Dora")]
    assert union.agreed == 1
    assert union.from_other == (2 if prefer == "other" else 1)
    assert [fact.key for fact in union.facts] == sorted(fact.key for fact in union.facts)
    assert len({fact.id for fact in union.facts}) == len(union.facts)


def test_facts_with_one_prompt_conflict_whatever_their_subjects_are_called(
    homes: tuple[Micro, Micro],
) -> None:
    own, other = map(live, homes)
    renamed = tuple(replace(fact, subject=f"other:{fact.subject}") for fact in other.facts)
    union = merging.united(own, replace(other, facts=renamed), "other")
    assert [(one.own.target, one.other.target) for one in union.conflicts] == [("Carl", "Dora")]
    assert stated(union)["Red Boat"] == "Dora"


def test_a_merged_checkpoint_is_built_from_the_cache_and_no_ledger_has_it(
    homes: tuple[Micro, Micro], tmp_path: Path
) -> None:
    own, other = homes[0].copy(tmp_path / "own"), homes[1]
    union = merging.united(live(own), live(other), "other")
    with own.application() as app:
        with app.state.read() as tx:
            events = tx.count_events(EventFilter())
        with views(app, "test") as made:
            found = merging.merge(app, made, union, tmp_path / "merged", exam=True)
        with app.state.read() as tx:
            assert tx.count_events(EventFilter()) == events
    assert verify(found.directory) == found.digest
    assert (found.facts, found.judged) == (4, True)
    assert found.groups_optimised == 2, "Dora's boat and Fred's barn, which only the other home's cache has"
    prompts = [fact.prompt for fact in union.facts]
    assert said(found.directory, prompts, "cpu") != said(own.home.live, prompts, "cpu")


def test_another_base_is_refused(homes: tuple[Micro, Micro]) -> None:
    own, other = homes
    with (
        own.application() as app,
        pytest.raises(UsageError, match="the other home was built from the base ffff"),
    ):
        merging.check_bases(app, live(own), replace(live(other), base="f" * 64))


def test_a_directory_without_a_ledger_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="there is no ledger"), merging.opened(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_command_shows_conflicts_and_builds_once_they_are_decided(
    homes: tuple[Micro, Micro], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own, other = homes[0].copy(tmp_path / "own"), homes[1]
    kbsync, out = Shell(own.home, capfd), tmp_path / "merged"
    command = ("merge", other.home.root, "--out", out)
    code, shown, error = kbsync(*command)
    assert code == 65
    assert "Carl" in shown
    assert "Dora" in shown
    assert "--prefer own or --prefer other" in error
    assert not out.exists()
    found = kbsync.json(*command, "--prefer", "own")
    assert found["facts"] == 4
    assert found["from_other"] == 1
    assert [one["own"]["target"] for one in found["conflicts"]] == ["Carl"]
    assert verify(out) == found["digest"]
    assert kbsync(*command, "--prefer", "own")[0] == 2, "nothing is overwritten"
