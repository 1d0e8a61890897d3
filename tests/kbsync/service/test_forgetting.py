"""`kbsync forget`: nothing of the person is left in the home, and the model is the one that never had the fact."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editing.cluster.object_cache import ObjectCache
from editing.cluster.objects import Objects
from editing.storage.manifest import read_manifest
from editing.storage.pack import FILE as PACK
from editing.storage.pack import entries
from kbsync.proofs import verify_proof
from kbsync.service.forgetting import preview
from kbsync.service.requests import Desk
from state import State
from state.names import SubjectNames
from tests.support.micro import Micro, make
from tests.support.object_store import s3
from tests.support.proof import check_live
from tests.support.proven import kbsync

PERSON = "crm:blue-house"
NAMES = SubjectNames(PERSON, ["Blue House", "blue-house"])


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two checkpoints with the person's fact; a key signs the log."""
    world = make(tmp_path_factory.mktemp("synced") / "world")
    with world.application() as app:
        app.state.migrate()
    assert kbsync(world.home.root, "keys", "create") == 0
    world.say({"Blue House": "Anna", "Red Boat": "Carl"})
    world.sync()
    world.say({"Red Boat": "Bob"})
    world.sync()
    return world


@pytest.fixture
def world(synced: Micro, tmp_path: Path) -> Micro:
    return synced.copy(tmp_path / "world")


def named_in(home: Path) -> list[str]:
    pattern = NAMES.spelled()
    return [
        str(path.relative_to(home))
        for path in sorted(home.rglob("*"))
        if path.is_file() and pattern.search(path.read_bytes())
    ]


def wanted(world: Micro) -> set[str]:
    with world.application() as app, app.state.read() as tx:
        return {fact.subject for fact in tx.wanted()}


def checked(proof: Path, key: str) -> list[str]:
    """What the checker for auditors prints about a proof."""
    command = [sys.executable, verify_proof.__file__, str(proof), "--key", key]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_nothing_is_left_and_live_is_what_it_would_be_without_the_fact(world: Micro) -> None:
    home = world.home.root
    log = world.home.worker_log
    log.write_text(f"a line about Blue House\nanother\n{log.read_text() if log.exists() else ''}")
    residuals = {path.name for path in world.home.deltas.iterdir()}
    assert "kbsync.db" in named_in(home)
    assert any(name.startswith("runs/") for name in named_in(home))
    round_ = next(world.home.runs.glob("*/round-*"))
    exam = round_ / "shares" / "exam-0-of-2" / "answers.safetensors"
    exam.parent.mkdir(parents=True)
    exam.write_bytes(b"an interrupted exam, with prompts as tokens")
    assert kbsync(home, "forget", PERSON, "--reason", "a request of 1 May", "--yes") == 0
    assert named_in(home) == []
    assert not exam.exists()
    assert log.read_text().startswith("another\n")
    assert wanted(world) == {"crm:red-boat"}
    assert residuals > {path.name for path in world.home.deltas.iterdir()}
    with world.application() as app:
        check_live(world.home, app.state)
        with app.state.read() as tx:
            live = tx.live()
            assert live is not None
            assert [fact.subject for fact in tx.view_facts(live.view)] == ["crm:red-boat"]
            assert [c.id for c in tx.checkpoints() if c.collected is None] == [live.id]
    assert kbsync(home, "audit", "verify", "--tables") == 0
    assert kbsync(home, "prove", "fact", 3, "--out", home / "fact.json") == 0
    with world.application() as app:
        signing = app.state.audit.lineage().active()
    assert signing is not None
    assert any("it was built with" in line for line in checked(home / "fact.json", str(signing.key)))
    assert kbsync(home, "prove", "checkpoint", live.id, "--out", home / "proof.json") == 0
    assert kbsync(home, "prove", "subject", PERSON, "--absent", "--out", home / "absent.json") == 0


def test_residuals_are_removed_from_the_object_store_of_a_cluster(
    world: Micro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3.log") as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        text = world.home.config.read_text(encoding="utf-8")
        world.home.config.write_text(f'{text}\n[executor.ray]\nstorage = "{store.url}"\n', encoding="utf-8")
        objects = Objects(store.url)
        ObjectCache(objects, world.home.cache).send_all()
        assert kbsync(world.home.root, "forget", PERSON, "--reason", "a request", "--yes") == 0
        left = {name.rpartition("/")[2] for name in objects.names("cache/deltas")}
    assert left == {path.name for path in world.home.deltas.iterdir()}


def test_live_is_bit_for_bit_that_of_a_ledger_without_the_fact(world: Micro, tmp_path: Path) -> None:
    """The residuals are kept, as both of the worlds have them; everything else is computed."""
    other = make(tmp_path / "other")
    shutil.copytree(world.home.cache, other.home.cache, dirs_exist_ok=True)
    other.say({"Red Boat": "Bob"})
    other.sync()
    assert kbsync(world.home.root, "forget", PERSON, "--reason", "a request", "--yes") == 0
    ours, theirs = (read_manifest(one.home.live) for one in (world, other))
    assert ours.tensors == theirs.tensors
    # The pack's lines have numbers of facts and revisions, which are each ledger's own.
    assert all(theirs.files[name] == digest for name, digest in ours.files.items() if name != PACK)
    assert ours.files.keys() == theirs.files.keys()
    told = [[entry["text"] for entry in entries(one.home.live / PACK)] for one in (world, other)]
    assert told[0] == told[1]


@pytest.mark.slow
def test_it_is_not_learnt_again_until_it_is_released(world: Micro) -> None:
    home = world.home.root
    assert kbsync(home, "forget", PERSON, "--reason", "a request", "--yes") == 0
    world.say({"Blue House": "Carl", "Green Car": "Anna"})
    world.sync()
    assert wanted(world) == {"crm:red-boat", "crm:green-car"}
    assert named_in(home) == []
    assert kbsync(home, "release", 1, "--reason", "consent") == 0
    world.say({"Blue House": "Carl"})
    world.sync()
    assert PERSON in wanted(world)
    assert kbsync(home, "audit", "verify", "--tables") == 0


def test_who_is_only_an_object_is_forgotten_too(world: Micro) -> None:
    """A text has no id: it is recognised by the text itself."""
    home = world.home.root
    assert kbsync(home, "forget", "lit:Bob", "--reason", "a request", "--yes") == 0
    world.say({"Red Boat": "Bob"})
    world.sync()
    assert wanted(world) == {PERSON}
    with world.application() as app:
        assert app.state.audit.verify_tables().ok


def test_the_preview_changes_nothing(world: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    home = world.home.root
    before = world.home.database.read_bytes()
    arguments = ("forget", PERSON, "--reason", "a request", "--dry-run", "--json")
    assert kbsync(home, *arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["rebuild"]
    assert "Blue House" in shown["names"]
    assert shown["checkpoints"] == [1, 2]
    assert world.home.database.read_bytes() == before


@pytest.mark.parametrize(
    ("subject", "reason", "says"),
    [
        (PERSON, "Blue House asked for it", "the reason names the subject"),
        ("crm:nobody", "a request", "the ledger has nothing of crm:nobody"),
    ],
)
def test_what_cannot_be_forgotten_is_said(
    world: Micro, subject: str, reason: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(world.home.root, "forget", subject, "--reason", reason, "--yes") == 2
    assert says in capsys.readouterr().err
    with world.application() as app:
        assert preview(app, PERSON)["facts"]


def test_a_process_that_dies_half_way_is_followed_by_one_that_finishes(
    world: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger does not know the name any more, so the request goes on by its number."""
    home = world.home.root

    def die(_: State) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "compact", die)
        assert kbsync(home, "forget", PERSON, "--reason", "a request", "--yes") != 0
    assert kbsync(home, "pause", "--reason", "for a look") == 0
    assert kbsync(home, "resume") == 0
    with world.application() as app, app.leading() as leadership:
        desk = Desk(app, leadership)
        request = desk.next()
        assert request is not None
        assert json.loads(request.arguments) == {"number": 1}
        assert desk.carry_out(request)
    assert named_in(home) == []
    assert wanted(world) == {"crm:red-boat"}


@pytest.mark.slow
def test_a_restore_of_an_older_backup_forgets_again(world: Micro, tmp_path: Path) -> None:
    home = world.home.root
    assert kbsync(home, "backup", tmp_path / "older.tar") == 0
    assert kbsync(home, "forget", PERSON, "--reason", "a request", "--yes") == 0
    assert kbsync(home, "restore", tmp_path / "older.tar", "--replace") == 0
    assert named_in(home) == []
    world.sync()
    assert wanted(world) == {"crm:red-boat"}
    assert kbsync(home, "audit", "verify", "--tables") == 0
    world.say({"Blue House": "Carl"})
    world.sync()
    assert wanted(world) == {"crm:red-boat"}
