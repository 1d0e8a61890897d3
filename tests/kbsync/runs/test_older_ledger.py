"""An older ledger put back into its home by hand: files of the other time line lie about and are not used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.micro import Micro, make
from tests.support.replay import check

STATED = {"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl"}


@pytest.fixture
def micro(put_back: Micro, tmp_path: Path) -> Micro:
    return put_back.copy(tmp_path / "world")


@pytest.fixture(scope="module")
def put_back(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two runs have happened; the ledger that is put back knows the first."""
    root = tmp_path_factory.mktemp("older")
    micro = make(root / "world")
    micro.say({"Blue House": "Dora"})
    micro.sync()
    shutil.copy(micro.home.database, root / "older.db")
    micro.say({"Red Boat": "Emil", "Old Mill": "Carl"}, name="b")
    micro.sync()
    for left in micro.home.root.glob("kbsync.db*"):
        left.unlink()
    shutil.copy(root / "older.db", micro.home.database)
    return micro


def stated(micro: Micro) -> dict[str, str]:
    app = micro.application()
    with app.state.read() as tx:
        live = tx.live()
        assert live is not None
        found = {fact.subject_label: fact.target for fact in tx.view_facts(live.view)}
    check(app.state)
    app.close()
    return found


def test_runs_get_numbers_that_no_file_has_and_live_states_what_is_wanted(micro: Micro) -> None:
    micro.say({"Green Barn": "Anna"}, name="c")
    (run, *_) = micro.sync().runs
    assert (run.id, run.state) == (3, "deployed"), "run 2 of the other time line has left its files"
    assert stated(micro) == {**STATED, "Green Barn": "Anna"}, "the source is read again from the older cursor"
    micro.say({"Black Bridge": "Gerd"}, name="d")
    micro.sync()
    assert stated(micro) == {**STATED, "Green Barn": "Anna", "Black Bridge": "Gerd"}


def test_a_report_of_the_other_time_line_is_not_used(micro: Micro) -> None:
    """Even where a run has the number: the report does not answer its spec."""
    micro.say({"Green Barn": "Anna"}, name="c")
    kept = micro.home.runs / "2"
    shutil.copytree(kept, micro.root / "report")
    shutil.rmtree(kept)
    shutil.rmtree(micro.home.checkpoints / "2-1")
    app = micro.application()
    with app.leading() as leadership:
        from kbsync.service.reading import pull

        pull(app, leadership)
        with leadership.write() as tx:
            run = tx.create_run(tx.create_view(tx.wanted()).digest, app.base.digest, "test")
            tx.advance_run(run.id, "planned", "building", actor="test")
    app.close()
    assert run.id == 2
    shutil.copytree(micro.root / "report", kept, dirs_exist_ok=True)
    old = json.loads((kept / "round-1" / "report.json").read_text())
    (done, *_) = micro.sync().runs
    assert (done.id, done.state) == (2, "deployed"), done.reason
    assert json.loads((kept / "round-1" / "report.json").read_text())["spec_digest"] != old["spec_digest"]
    assert stated(micro) == {**STATED, "Green Barn": "Anna"}


def test_live_named_like_a_checkpoint_of_the_other_time_line_is_not_served(micro: Micro) -> None:
    """The older ledger's live has the path of a directory that was built again since, with other weights."""
    shutil.rmtree(micro.home.checkpoints / "1-1")
    (micro.home.checkpoints / "2-1").rename(micro.home.checkpoints / "1-1")
    (run, *_) = micro.sync().runs
    assert run.state == "deployed"
    assert run.trigger.startswith("live is lost")
    assert stated(micro) == STATED
