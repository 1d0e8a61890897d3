"""A source that left the settings: its statements are forgotten, or go on under another name."""

from __future__ import annotations

import pytest

from connectors.observations import Entity
from kbsync.intake import leavers
from kbsync.intake.leavers import Left
from tests.support.admission_world import DAY, START, Script, World, observed


def both(world: World) -> Script:
    """Two sources that agree on Italy; only the old one knows Spain, and has doubts about Malta."""
    old = Script("old")
    old.tell(
        observed("italy", "conte", source="old"),
        observed("spain", "perez", source="old"),
        observed("malta", "a", "b", source="old"),
    )
    world.cycle(old)
    world.hear(observed("italy", "conte"))
    return old


def test_a_forgotten_source_votes_no_more_and_what_it_alone_stated_is_retracted(world: World) -> None:
    both(world)
    left = leavers.forget(world.intake, "old", None, "the CRM was switched off", "ann")
    assert left == Left(slots=3, facts=2)
    assert world.wanted() == {"italy": "Conte"}
    assert world.status("spain", "perez") == "retracted forgotten"
    assert world.status("malta", "a") == "superseded gone"
    world.cycle(after=30 * DAY)
    world.hear(observed("italy", "draghi", revision=2, modified=START), after=30 * DAY)
    assert world.wanted() == {"italy": "Draghi"}, "nobody disagrees any more"
    with world.state.read() as tx:
        assert tx.cursor("old") is None
        assert "old" not in tx.count_watched()
        (event,) = tx.events(kind="source.forgotten")
    assert event.actor == "ann"
    assert '"slots":3' in event.body
    assert leavers.forget(world.intake, "old", None, "again", "ann") == Left(0, 0)


def test_one_namespace_of_a_source_can_be_forgotten(world: World) -> None:
    old, new = Entity("crm:acme", "Acme"), Entity("erp:acme", "Acme")
    world.hear(observed("italy", "conte"), observed(old, "x"))
    world.hear(observed(new, "y"))
    assert world.wanted() == {"italy": "Conte"}, "one prompt, two answers"
    assert leavers.forget(world.intake, "kb", "crm", "the namespace was renamed", "ann").slots == 1
    assert world.wanted() == {"italy": "Conte", "erp:acme": "Y"}
    with world.state.read() as tx:
        assert tx.count_namespaces() == {"kb": {"wd": 1, "erp": 1}}
        assert tx.cursor("kb") is not None


def test_a_source_that_comes_back_after_it_was_forgotten_is_read_from_its_beginning(world: World) -> None:
    old = both(world)
    leavers.forget(world.intake, "old", None, "a mistake", "ann")
    world.cycle(old)
    assert world.wanted() == {"italy": "Conte", "spain": "Perez"}


def test_a_renamed_source_goes_on_where_it_was(world: World) -> None:
    old = both(world)
    left = leavers.rename(world.intake, "old", "new", "the CRM has a new name", "ann")
    assert left.slots == 3
    with world.state.read() as tx:
        assert (tx.cursor("old"), tx.cursor("new")) == (None, "1")
        assert tx.count_watched() == {"kb": 1, "new": 3}
        assert tx.count_source_facts().keys() == {"new"}
    old.name = "new"
    events = world.events()
    assert world.cycle(old, world.kb).observations == 0
    assert world.events() == events
    assert world.wanted() == {"italy": "Conte", "spain": "Perez"}
    old.tell(observed("spain", "sanchez", source="new", revision=2, modified=START))
    world.cycle(old, after=9 * DAY)
    assert world.wanted() == {"italy": "Conte", "spain": "Sanchez"}
    assert world.state.audit.verify().ok


def test_what_was_read_under_the_new_name_already_is_kept(world: World) -> None:
    both(world)
    new = Script("new")
    new.tell(observed("spain", "sanchez", source="new", revision=5, modified=START - 9 * DAY))
    world.cycle(new)
    assert world.status("spain", "perez") == "quarantined sources_disagree"
    leavers.rename(world.intake, "old", "new", "it was read before it was renamed", "ann")
    with world.state.read() as tx:
        assert [one.revision for one in tx.histories([("wd:spain", "wdt:P6")])["wd:spain", "wdt:P6"]] == [5]
    world.intake.readmit([("wd:spain", "wdt:P6")])
    assert world.wanted()["spain"] == "Sanchez"


@pytest.mark.parametrize("page", [1, 2])
def test_both_work_page_by_page(world: World, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leavers, "PAGE", page)
    both(world)
    assert leavers.rename(world.intake, "old", "new", "r", "ann").slots == 3
    assert leavers.forget(world.intake, "new", None, "r", "ann").slots == 3
    assert world.wanted() == {"italy": "Conte"}
