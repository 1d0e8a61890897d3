"""A backup makes a home again: elsewhere, older, without checkpoints or cache, and never over what is there."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.cli import main
from kbsync.home import Home
from state import State
from state.records import Fact
from tests.support.micro import Micro, make
from tests.support.replay import check
from tests.support.tampering import flip, sql

FACTS = {"Blue House": "Dora", "Red Boat": "Emil"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two facts live, anchored, and a backup of that."""
    micro = make(tmp_path_factory.mktemp("backup") / "world", extra="[state]\nanchor = '../anchors.jsonl'")
    micro.say(FACTS)
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    assert kbsync(micro.home, "audit", "anchor", micro.root / "anchors.jsonl") == 0
    assert kbsync(micro.home, "backup", micro.root / "one.tar") == 0
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")


def kbsync(home: Home, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home.root), *map(str, arguments)])
    return int(ended.value.code or 0)


def live(micro: Micro) -> dict[str, str]:
    """What live states; the ledger is whole, and the link leads there."""
    app = micro.application()
    with app.state.read() as tx:
        found = tx.live()
        assert found is not None
        stated = {fact.subject_label: fact.target for fact in tx.view_facts(found.view)}
    check(app.state)
    app.close()
    assert os.readlink(micro.home.live) == found.path
    return stated


def fact_about(micro: Micro, subject: str) -> Fact:
    with micro.application() as app, app.state.read() as tx:
        (found,) = (fact for fact in tx.facts() if fact.subject_label == subject)
    return found


def deltas(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home.cache / "deltas").glob("*.safetensors")}


def emptied(micro: Micro) -> None:
    """Another machine: nothing is in the home but what a restore puts there."""
    shutil.rmtree(micro.home.root)


def test_a_backup_says_what_it_holds_and_only_its_owner_reads_it(micro: Micro) -> None:
    file = micro.root / "one.tar"
    with tarfile.open(file) as archive:
        names = archive.getnames()
        contents = json.load(archive.extractfile("backup.json"))  # type: ignore[arg-type]
    assert names[:3] == ["ledger.db", "kbsync.toml", "anchors.jsonl"]
    assert names[-1] == "backup.json"
    assert {name for name in names if name.startswith("cache/deltas/")} == {
        f"cache/deltas/{name}" for name in deltas(micro.home)
    }
    assert not any("stats" in name for name in names)
    assert set(contents["files"]) == set(names) - {"backup.json"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_directory_gets_a_file_with_the_date_and_choices_are_kept(micro: Micro, tmp_path: Path) -> None:
    assert kbsync(micro.home, "backup", tmp_path, "--no-deltas", "--statistics") == 0
    (file,) = tmp_path.glob("kbsync-20*.tar")
    with tarfile.open(file) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.startswith("cache/")}
    assert folders == {"stats"}
    assert kbsync(micro.home, "backup", file) == 65, "a backup is never overwritten"


def test_restored_on_another_machine_live_is_built_from_the_cache(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    before = deltas(micro.home)
    emptied(micro)
    assert kbsync(micro.home, "restore", micro.root / "one.tar") == 0
    assert "keep" in capfd.readouterr().err, "the anchor file is about another instance by now"
    assert deltas(micro.home) == before
    (run, *_) = micro.sync().runs
    assert run.state == "deployed", run.reason
    assert live(micro) == FACTS
    assert deltas(micro.home) == before, "nothing was optimised again"


def test_restored_under_another_path(micro: Micro, tmp_path: Path) -> None:
    moved = micro.copy(tmp_path / "elsewhere")
    emptied(moved)
    moved.home.root.mkdir()
    text = micro.home.config.read_text().replace(str(micro.root), str(moved.root))
    moved.home.config.write_text(text)
    assert kbsync(moved.home, "restore", micro.root / "one.tar") == 0
    assert moved.home.config.read_text() == text, "settings that are there stay"
    assert {run.state for run in moved.sync().runs} == {"deployed"}
    assert live(moved) == FACTS


def test_restored_without_the_residuals_they_are_optimised_again(micro: Micro) -> None:
    assert kbsync(micro.home, "backup", micro.root / "small.tar", "--no-deltas") == 0
    emptied(micro)
    assert kbsync(micro.home, "restore", micro.root / "small.tar") == 0
    assert deltas(micro.home) == {}
    assert {run.state for run in micro.sync().runs} == {"deployed"}
    assert live(micro) == FACTS


def test_an_older_backup_over_a_newer_home(micro: Micro) -> None:
    micro.say({"Green Barn": "Anna"}, name="later")
    micro.sync()
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    (aside,) = micro.home.root.glob("kbsync.db.replaced-*")
    assert aside.stat().st_size > 0
    micro.say({"Old Mill": "Carl"}, name="other")
    runs = micro.sync().runs
    assert {run.state for run in runs} == {"deployed"}
    assert min(run.id for run in runs) > 2, "run 2 of the other time line has left its files"
    assert live(micro) == {**FACTS, "Green Barn": "Anna", "Old Mill": "Carl"}


def test_what_was_retracted_after_the_backup_is_wanted_again_only_if_its_source_says_so(micro: Micro) -> None:
    micro.say({"Red Boat": None}, name="later")
    micro.sync()
    assert live(micro) == {"Blue House": "Dora"}
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    micro.sync()
    assert live(micro) == {"Blue House": "Dora"}, "the source is read again from the cursor of then"


@pytest.mark.slow
def test_what_a_person_retracted_after_the_backup_stays_out(
    micro: Micro, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also of a fact that the backup does not know, and although the source still states both."""
    micro.say({"Green Barn": "Anna"}, name="later")
    micro.sync()
    for subject in ("Red Boat", "Green Barn"):
        assert kbsync(micro.home, "retract", fact_about(micro, subject).id, "--reason", "we were wrong") == 0
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    assert "keep 2 facts out" in capfd.readouterr().err
    micro.sync()
    assert live(micro) == {"Blue House": "Dora"}
    found = fact_about(micro, "Green Barn")
    assert (found.status, found.decision) == ("retracted", "rejected")
    assert found.reason == "decided after the backup: we were wrong"
    assert kbsync(micro.home, "unretract", found.id, "--reason", "right after all") == 0
    micro.sync()
    assert live(micro) == {"Blue House": "Dora", "Green Barn": "Anna"}


def test_what_was_rolled_back_after_the_backup_stays_out(micro: Micro) -> None:
    micro.say({"Green Barn": "Anna"}, name="later")
    micro.sync()
    assert kbsync(micro.home, "rollback", "--reason", "Anna is wrong") == 0
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    micro.sync()
    assert live(micro) == FACTS
    assert fact_about(micro, "Green Barn").decision == "barred"


def test_decisions_of_another_ledger_are_not_taken_over(
    micro: Micro, template: Micro, tmp_path: Path
) -> None:
    other = make(tmp_path / "other")
    other.say({"Blue House": "Dora"})
    other.sync()
    assert kbsync(other.home, "retract", fact_about(other, "Blue House").id, "--reason", "not here") == 0
    assert kbsync(other.home, "restore", template.root / "one.tar", "--replace") == 0
    assert fact_about(other, "Blue House").status == "wanted"


def test_a_restore_is_an_event_and_the_ledger_has_another_name(micro: Micro) -> None:
    state = State.open(f"sqlite:///{micro.home.database}")
    with state.read() as tx:
        before, head = tx.instance(), tx.head()
    state.close()
    with State.open(f"sqlite:///{micro.home.database}").write() as tx:
        tx.ask("sync", {}, "at once", "ada")
    assert kbsync(micro.home, "backup", micro.root / "two.tar") == 0
    assert kbsync(micro.home, "restore", micro.root / "two.tar", "--replace", "--actor", "ada") == 0
    state = State.open(f"sqlite:///{micro.home.database}")
    with state.read() as tx:
        (event,) = tx.events(kind="ledger.restored")
        told = json.loads(event.body)
        assert (told["before"], event.actor) == (before, "ada")
        assert tx.instance() == told["instance"] != before
        assert tx.open_requests() == (), "what was asked of the leader then is not carried out now"
        assert tx.events(after=head.seq if head else 0, kind="request.withdrawn")
    check(state)
    state.close()


def test_a_home_in_use_is_refused(micro: Micro, capfd: pytest.CaptureFixture[str]) -> None:
    app = micro.application()
    with app.leading():
        assert kbsync(micro.home, "backup", micro.root / "meanwhile.tar") == 0
        assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 75
    app.close()
    assert "in use" in capfd.readouterr().err
    assert live(micro) == FACTS


def test_a_ledger_that_another_home_leads_is_refused(
    micro: Micro, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = State.open(f"sqlite:///{micro.home.database}")
    state.acquire_lease("leader", "another machine", timedelta(hours=1))
    state.close()
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 75
    assert "another machine" in capfd.readouterr().err


@pytest.mark.parametrize("left", ["kbsync.db", "checkpoints/1-1", "cache/deltas"])
def test_a_home_that_is_not_empty_is_refused_and_left_as_it_is(
    micro: Micro, left: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in micro.home.root.iterdir():
        if path.name not in (left.partition("/")[0], "kbsync.toml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = sorted(path for path in micro.home.root.rglob("*"))
    assert kbsync(micro.home, "restore", micro.root / "one.tar") == 2
    assert "--replace" in capfd.readouterr().err
    assert sorted(path for path in micro.home.root.rglob("*")) == before


def test_a_backup_that_is_not_there_is_exit_66(micro: Micro) -> None:
    assert kbsync(micro.home, "restore", micro.root / "nowhere.tar", "--replace") == 66


@pytest.mark.parametrize("harm", ["flipped", "cut", "text", "link", "other ledger", "outside"])
def test_a_damaged_backup_changes_nothing(
    micro: Micro, tmp_path: Path, harm: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = micro.root / "one.tar"
    match harm:
        case "flipped":
            flip(file)
        case "cut":
            file.write_bytes(file.read_bytes()[:-20_480])
        case "text":
            file.write_text("This is a letter. " * 1000)
        case "link":
            with tarfile.open(file, "a") as archive:
                link = tarfile.TarInfo("extra")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
        case "outside":
            with tarfile.open(file, "a") as archive:
                archive.add(micro.root / "corpus.txt", "../corpus.txt")
        case "other ledger":
            repacked(file, tmp_path, "UPDATE facts SET status = 'retracted'")
    before = micro.home.database.read_bytes()
    assert kbsync(micro.home, "restore", file, "--replace") == 65
    assert "use another backup" in capfd.readouterr().err
    assert micro.home.database.read_bytes() == before
    assert not [path for path in micro.home.root.iterdir() if path.name.startswith(".staging")]


def repacked(file: Path, tmp_path: Path, statement: str) -> None:
    """The same archive with a ledger that somebody changed, and a digest to match."""
    import hashlib

    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "x", filter="data")
        names = archive.getnames()
    sql(
        tmp_path / "x" / "ledger.db",
        "DROP TRIGGER events_no_update",
        "UPDATE events SET actor = 'm'",
        statement,
    )
    contents = json.loads((tmp_path / "x" / "backup.json").read_text())
    ledger = (tmp_path / "x" / "ledger.db").read_bytes()
    contents["files"]["ledger.db"] = hashlib.sha256(ledger).hexdigest()
    (tmp_path / "x" / "backup.json").write_text(json.dumps(contents))
    with tarfile.open(file, "w") as archive:
        for name in names:
            archive.add(tmp_path / "x" / name, name)


def test_a_damaged_ledger_is_replaced_and_set_aside(micro: Micro) -> None:
    for left in micro.home.root.glob("kbsync.db*"):
        left.unlink()
    micro.home.database.write_text("This is a letter, not a database. " * 100)
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    micro.sync()
    assert live(micro) == FACTS
    (aside,) = micro.home.root.glob("kbsync.db.replaced-*")
    assert aside.read_text().startswith("This is a letter")


def test_a_backup_taken_while_others_write_is_one_state(micro: Micro) -> None:
    stop = threading.Event()

    def write() -> None:
        state = State.open(f"sqlite:///{micro.home.database}")
        while not stop.is_set():
            with state.write() as tx:
                tx.emit("breaker.tripped", "test", {"limit": 1})
        state.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            assert kbsync(micro.home, "backup", micro.root / f"busy-{number}.tar") == 0
    finally:
        stop.set()
        writer.join()
    emptied(micro)
    assert kbsync(micro.home, "restore", micro.root / "busy-2.tar") == 0
    micro.sync()
    assert live(micro) == FACTS


@pytest.mark.slow
@pytest.mark.postgres
def test_a_ledger_moves_between_sqlite_and_postgresql(micro: Micro, new_url) -> None:
    url = new_url("postgres")
    config = micro.home.config.read_text()
    emptied(micro)
    micro.home.root.mkdir()
    micro.home.config.write_text(config.replace("[state]", f"[state]\nurl = '{url}'"))
    assert kbsync(micro.home, "restore", micro.root / "one.tar") == 2, "its tables are there"
    assert kbsync(micro.home, "restore", micro.root / "one.tar", "--replace") == 0
    micro.sync()
    assert live(micro) == FACTS
    micro.say({"Old Mill": "Carl"}, name="more")
    micro.sync()
    assert kbsync(micro.home, "backup", micro.root / "pg.tar") == 0
    emptied(micro)
    micro.home.root.mkdir()
    micro.home.config.write_text(config)
    assert kbsync(micro.home, "restore", micro.root / "pg.tar") == 0
    micro.sync()
    assert live(micro) == {**FACTS, "Old Mill": "Carl"}


def test_a_restore_is_declared_to_the_witnesses_where_there_is_a_key(micro: Micro) -> None:
    """The tail is lost, and the log says so with the key that signed for the witness before: no alarm."""
    assert kbsync(micro.home, "keys", "create") == 0
    assert kbsync(micro.home, "audit", "anchor") == 0
    assert kbsync(micro.home, "backup", micro.root / "two.tar") == 0
    micro.say({"Blue House": "Fritz"})
    micro.sync()
    assert kbsync(micro.home, "audit", "anchor") == 0
    assert kbsync(micro.home, "restore", micro.root / "two.tar", "--replace") == 0
    assert kbsync(micro.home, "audit", "verify", "--tables") == 0
    micro.sync()
    assert kbsync(micro.home, "audit", "anchor") == 0
    assert kbsync(micro.home, "audit", "verify", "--incremental") == 0


def test_what_a_drop_folder_withdrew_after_the_backup_is_withdrawn_after_the_restore(micro: Micro) -> None:
    """The file was moved to `done/` long ago, and no source will deliver it again."""
    micro.say({"Blue House": None})
    micro.sync()
    assert live(micro) == {"Red Boat": "Emil"}
    assert kbsync(micro.home, "restore", "--replace", micro.root / "one.tar") == 0
    micro.sync()
    assert live(micro) == {"Red Boat": "Emil"}


@pytest.mark.parametrize("name", ["what?", "%2e%2e", "a#b c", "-x;{}", "~x"])
def test_a_home_of_any_name_is_backed_up_and_restored(template: Micro, tmp_path: Path, name: str) -> None:
    micro = template.copy(tmp_path / name)
    assert kbsync(micro.home, "backup", tmp_path / "two.tar") == 0
    assert kbsync(micro.home, "restore", "--replace", tmp_path / "two.tar") == 0
    assert live(micro) == FACTS
