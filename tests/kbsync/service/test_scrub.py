"""What is live is proven byte by byte, put right where that can be done, and built again where it cannot."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editing.errors import CheckpointError
from editing.storage.checkpoints import verify
from kbsync.application import Application
from kbsync.cli import main
from kbsync.deployment.served import served
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.queries.status import overview
from kbsync.runs import integrity
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.metrics import LedgerCollector
from kbsync.service.scrub import scrub
from state.records import Checkpoint
from tests.support.micro import Micro, make
from tests.support.replay import check
from tests.support.tampering import flip, sql

FACTS = {"Blue House": "Dora", "Red Boat": "Emil"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """A small kbsync with two facts live."""
    micro = make(tmp_path_factory.mktemp("live") / "world")
    micro.say(FACTS)
    (run,) = micro.sync().runs
    assert run.state == "deployed", run
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")


def led(micro: Micro, work: Callable[[Application, Leadership], Any]) -> Any:
    app = micro.application()
    try:
        with app.leading() as leadership:
            return work(app, leadership)
    finally:
        app.close()


def live(micro: Micro) -> Checkpoint:
    app = micro.application()
    with app.state.read() as tx:
        found = tx.live()
    app.close()
    assert found is not None
    return found


def kinds(micro: Micro, kind: str) -> list[str]:
    app = micro.application()
    with app.state.read() as tx:
        found = [json.loads(event.body)["check"] for event in tx.events(kind=kind)]
    app.close()
    return found


def metric(micro: Micro, name: str) -> dict[str, float]:
    app = micro.application()
    found = {
        sample.labels["check"]: sample.value
        for family in LedgerCollector(app, Heartbeat()).collect()
        for sample in family.samples
        if sample.name == name
    }
    app.close()
    return found


def lines(micro: Micro) -> dict[str, str]:
    app = micro.application()
    found = dict(overview(app).lines())
    app.close()
    return found


def deltas(home: Home) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (home.cache / "deltas").glob("*.safetensors")}


def test_whole_bytes_are_proven_and_leave_no_event(micro: Micro) -> None:
    assert led(micro, scrub) == ""
    assert {"live": 1, "base": 1}.items() <= metric(micro, "kbsync_check_ok").items()
    assert kinds(micro, "check.*") == []
    assert "live " in lines(micro)["proven"]


def test_a_flipped_byte_of_live_is_found_and_its_view_is_built_again(micro: Micro) -> None:
    before, built = live(micro), deltas(micro.home)
    flip(micro.home.checkpoint(before.path) / "editable.safetensors")
    assert "editable.safetensors is damaged" in led(micro, scrub)
    assert kinds(micro, "check.failed") == ["live"]
    assert metric(micro, "kbsync_check_ok")["live"] == 0
    assert "`kbsync sync` builds" in lines(micro)["live failed"]
    (run,) = micro.sync(asked=False).runs
    assert (run.state, run.trigger[:12]) == ("deployed", "live is lost")
    after = live(micro)
    assert (after.view, after.digest) == (before.view, before.digest)
    assert after.path != before.path
    assert not micro.home.checkpoint(before.path).exists(), "what is damaged is no target of a rollback"
    assert deltas(micro.home) == built, "nothing was optimised again"
    assert led(micro, scrub) == ""
    assert kinds(micro, "check.passed") == ["live"]
    assert "live failed" not in lines(micro)


def test_a_damaged_base_is_imported_again_and_live_gets_its_files_back(micro: Micro) -> None:
    before = live(micro)
    (frozen, *_) = sorted((micro.home.base / before.base).glob("frozen-*.safetensors"))
    flip(frozen)
    assert led(micro, scrub) == ""
    assert sorted(set(kinds(micro, "check.failed"))) == ["base", "live"]
    assert sorted(set(kinds(micro, "check.passed"))) == ["base", "live"]
    assert verify(micro.home.base / before.base) == before.base
    assert verify(micro.home.checkpoint(before.path)) == before.digest
    assert live(micro) == before, "nothing had to be built"


def test_a_damaged_base_whose_origin_is_gone_says_what_to_put_back(micro: Micro) -> None:
    before = live(micro)
    flip(micro.home.base / before.base / "config.json")
    shutil.rmtree(micro.root / "model")
    assert "cannot be imported again" in led(micro, scrub)
    assert "[model] path" in lines(micro)["base failed"]


def test_a_link_that_leads_elsewhere_is_not_called_live_and_is_switched_back(micro: Micro) -> None:
    before = live(micro)
    elsewhere = micro.root / "elsewhere" / before.path
    shutil.copytree(micro.home.checkpoint(before.path), elsewhere)
    micro.home.live.unlink()
    micro.home.live.symlink_to(elsewhere)
    app = micro.application()
    (link,) = served(app)
    app.close()
    assert not link.matches
    assert led(micro, scrub) == ""
    assert kinds(micro, "check.failed") == ["live"]
    assert os.readlink(micro.home.live) == before.path


@pytest.mark.parametrize("instead", ["a file", "a directory", "a copy", "a pipe"])
def test_what_is_not_a_link_is_left_alone_and_shown_in_status(micro: Micro, instead: str) -> None:
    before, place = live(micro), micro.home.live
    place.unlink()
    match instead:
        case "a file":
            place.write_bytes(b"mine")
        case "a directory":
            place.mkdir()
        case "a copy":
            shutil.copytree(micro.home.checkpoint(before.path), place)
        case "a pipe":
            os.mkfifo(place)
    assert "live is not a symbolic link: move it away" in led(micro, scrub)
    with pytest.raises(CheckpointError, match="live is not a symbolic link: move it away"):
        micro.sync()
    assert not place.is_symlink()
    assert kinds(micro, "check.failed") == ["live"]
    assert "move it away" in lines(micro)["live failed"]
    place.rename(micro.root / "aside")
    micro.sync()
    assert os.readlink(place) == before.path
    assert led(micro, scrub) == ""
    assert "live failed" not in lines(micro)


def test_a_link_that_leads_to_itself_serves_nothing_and_is_switched_back(micro: Micro) -> None:
    before = live(micro)
    micro.home.live.unlink()
    micro.home.live.symlink_to("live")
    assert "live" in lines(micro)
    app = micro.application()
    (link,) = served(app)
    app.close()
    assert not link.matches
    assert led(micro, scrub) == ""
    assert os.readlink(micro.home.live) == before.path


def test_a_link_that_leads_elsewhere_is_noted_by_the_next_cycle_too(micro: Micro) -> None:
    before = live(micro)
    micro.home.live.unlink()
    micro.home.live.symlink_to(micro.root / "elsewhere")
    micro.sync()
    assert kinds(micro, "check.failed") == ["live"]
    assert os.readlink(micro.home.live) == before.path


@pytest.mark.parametrize("harm", ["gone", "empty", "another"])
def test_live_without_its_directory_is_built_again_by_the_next_cycle(micro: Micro, harm: str) -> None:
    before, built = live(micro), deltas(micro.home)
    directory = micro.home.checkpoint(before.path)
    if harm != "another":
        shutil.rmtree(directory)
    if harm == "empty":
        directory.mkdir()
    if harm == "another":
        manifest = directory / "kbsync.json"
        manifest.chmod(0o644)
        base = micro.home.base / before.base / "kbsync.json"
        manifest.write_bytes(base.read_bytes())
    assert directory.name in lines(micro)["live is lost"]
    assert "kbsync sync" in lines(micro)["live is lost"]
    (run, *_) = micro.sync(asked=False).runs
    assert run.state == "deployed", run.reason
    after = live(micro)
    assert after.view == before.view
    assert os.readlink(micro.home.live) == after.path
    assert deltas(micro.home) == built
    assert "live is lost" not in lines(micro)
    app = micro.application()
    check(app.state)
    app.close()


def test_a_ledger_restored_without_checkpoints_and_base_comes_back(micro: Micro) -> None:
    before, built = live(micro), deltas(micro.home)
    for place in (micro.home.checkpoints, micro.home.base, micro.home.runs):
        shutil.rmtree(place)
    (run,) = micro.sync().runs
    assert run.state == "deployed", run.reason
    assert live(micro).view == before.view
    assert deltas(micro.home) == built


def test_what_is_not_wanted_any_more_is_not_brought_back(micro: Micro) -> None:
    before = live(micro)
    micro.say({"Red Boat": None})
    shutil.rmtree(micro.home.checkpoint(before.path))
    app = micro.application()
    with app.state.write() as tx:
        (gone,) = [fact for fact in tx.wanted() if fact.subject_label == "Red Boat"]
        tx.decide(gone.id, "rejected", "it is not true", "ada")
        tx.move_fact(gone.id, "retracted", "it is not true", "ada")
    app.close()
    (run, *_) = micro.sync().runs
    assert run.state == "deployed", run.reason
    after = live(micro)
    app = micro.application()
    with app.state.read() as tx:
        assert [fact.subject_label for fact in tx.view_facts(after.view)] == ["Blue House"]
    app.close()


def test_a_rebuild_that_was_killed_is_carried_on(micro: Micro) -> None:
    before = live(micro)
    shutil.rmtree(micro.home.checkpoint(before.path))
    from kbsync.runs import recovery

    run = led(micro, lambda app, lead: recovery.rebuild(app, lead, "it is gone", asked=False))
    assert run is not None
    (carried,) = micro.sync().runs
    assert (carried.id, carried.state) == (run.id, "deployed")


def test_nothing_is_promoted_while_a_row_is_not_what_the_log_says(micro: Micro) -> None:
    before = live(micro)
    sql(micro.home.database, "UPDATE facts SET status = 'retracted' WHERE id = 1")
    micro.say({"Green Barn": "Anna"})
    report = micro.sync()
    assert {run.state for run in report.runs} == {"staged"}
    assert live(micro).id == before.id
    assert "tables" in kinds(micro, "check.failed")
    told = lines(micro)["tables failed"]
    assert "facts 1: status is 'retracted'; the log says 'wanted'" in told
    assert "kbsync restore" in told
    sql(micro.home.database, "UPDATE facts SET status = 'wanted' WHERE id = 1")
    assert {run.state for run in micro.sync().runs} == {"deployed"}
    assert live(micro).id != before.id
    assert kinds(micro, "check.passed") == ["tables"]


def test_a_promotion_may_go_ahead_where_the_settings_say_so(micro: Micro) -> None:
    config = micro.home.config
    config.write_text(config.read_text() + "\n[state]\nverify_before_promotion = false\n")
    sql(micro.home.database, "UPDATE entities SET label = label || 'x'")
    micro.say({"Green Barn": "Anna"})
    assert {run.state for run in micro.sync().runs} == {"deployed"}


def test_another_row_called_live_in_the_table_is_not_served(micro: Micro) -> None:
    micro.say({"Green Barn": "Anna"})
    micro.sync()
    after = live(micro)
    sql(
        micro.home.database,
        "UPDATE checkpoints SET status = 'retired' WHERE status = 'live'",
        f"UPDATE checkpoints SET status = 'live' WHERE id <> {after.id}",
    )
    with pytest.raises(
        Exception, match=r"was not switched: checkpoint 1 is live; the log says.*checkpoint 2"
    ):
        micro.sync()
    assert os.readlink(micro.home.live) == after.path


def test_a_rollback_goes_to_no_checkpoint_that_the_log_does_not_know(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    micro.say({"Green Barn": "Anna"})
    micro.sync()
    sql(micro.home.database, "UPDATE checkpoints SET digest = 'x' WHERE status = 'retired'")
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(micro.home.root), "rollback", "--reason", "back"])
    assert ended.value.code == 65
    assert "nothing was rolled back: digest of checkpoint 1 is 'x'" in capfd.readouterr().err


def test_the_log_its_anchors_and_the_tables_are_proven(micro: Micro) -> None:
    anchors = micro.root / "anchors.jsonl"
    config = micro.home.config
    config.write_text(config.read_text() + f"\n[state]\nanchor = '{anchors}'\n")
    led(micro, integrity.anchor)
    assert led(micro, integrity.prove) == ""
    assert metric(micro, "kbsync_check_ok") == {"chain": 1, "anchors": 1, "tables": 1}
    text = anchors.read_text()
    anchors.write_text(text[:20] + ("0" if text[20] != "0" else "1") + text[21:])
    assert "rewritten" in led(micro, integrity.prove)
    assert "start a new one" in lines(micro)["anchors failed"]
    before = anchors.read_text()
    led(micro, integrity.anchor)
    assert anchors.read_text() == before, "none is added to a file that contradicts the log"
    sql(micro.home.database, "DROP TRIGGER events_no_update", "UPDATE events SET actor = 'x' WHERE seq = 2")
    assert "event 2" in led(micro, integrity.prove)
    assert "kbsync restore" in lines(micro)["chain failed"]
