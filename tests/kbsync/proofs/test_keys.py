"""Keys sign the heads of the log, lie where only their owner can read them, and have a history."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from kbsync.cli import main
from kbsync.proofs.keys import CREDENTIAL
from state import State
from state.anchors import read_anchors
from state.notes import Note, PublicKey
from tests.support.cosigner import Cosigner, serving
from tests.support.ledgers import fact


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "kbsync.db").write_bytes(empty_ledger.read_bytes())
    learn(home, "wd:Q1")
    return home


def learn(home: Path, subject: str) -> None:
    state = State.open(f"sqlite:///{home}/kbsync.db")
    with state.write() as tx:
        tx.put_facts([fact(subject)], "test")
    state.close()


def kbsync(home: Path, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home), *map(str, arguments)])
    return int(ended.value.code or 0)


def create(home: Path, capfd: pytest.CaptureFixture[str], command: str = "create") -> PublicKey:
    capfd.readouterr()
    assert kbsync(home, "keys", command) == 0
    return PublicKey.parse(capfd.readouterr().out)


def test_a_key_is_a_file_that_only_its_owner_reads(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = create(home, capfd)
    (file,) = (home / "keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o700
    assert kbsync(home, "keys", "show") == 0
    assert capfd.readouterr().out.strip() == str(key)
    assert kbsync(home, "keys", "create") == 2
    assert "signs already" in capfd.readouterr().err


def test_a_key_that_others_can_read_is_not_used(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    create(home, capfd)
    (file,) = (home / "keys").iterdir()
    file.chmod(0o640)
    assert kbsync(home, "audit", "anchor", home / "witness") == 78
    assert "can be read by others" in capfd.readouterr().err
    assert not (home / "witness").exists()


def test_heads_are_signed_and_verify_through_rotation_and_revocation(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    witness = tmp_path / "witness.jsonl"
    (home / "kbsync.toml").write_text(f"[state]\nwitnesses = ['{witness}']\n")
    first = create(home, capfd)
    assert kbsync(home, "audit", "anchor") == 0
    second = create(home, capfd, "rotate")
    assert kbsync(home, "audit", "anchor") == 0
    assert kbsync(home, "keys", "revoke", first.name, "--reason", "the laptop was stolen") == 0
    assert kbsync(home, "audit", "anchor") == 0
    for more in ((), ("--tables",), ("--incremental",)):
        assert kbsync(home, "audit", "verify", *more) == 0
    signed = [Note.parse(one.note).signed_by([first, second]) for one in read_anchors(witness)]
    assert signed == [first, second, second]
    capfd.readouterr()
    assert kbsync(home, "keys", "list", "--json") == 0
    listed = json.loads(capfd.readouterr().out)
    assert [(one["state"], one["private"]) for one in listed] == [("revoked", "not here"), ("signs", "here")]


def test_a_key_may_come_as_a_systemd_credential(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create(home, capfd)
    (file,) = (home / "keys").iterdir()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    file.rename(credentials / CREDENTIAL)
    assert kbsync(home, "audit", "anchor", tmp_path / "witness") == 78
    assert CREDENTIAL in capfd.readouterr().err
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert kbsync(home, "audit", "anchor", tmp_path / "witness") == 0


def test_a_server_cosigns_what_continues_the_head_it_knows(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = create(home, capfd)
    with serving(Cosigner()) as witness:
        (home / "kbsync.toml").write_text(f"[state]\nwitnesses = ['{witness.url}']\n")
        assert kbsync(home, "audit", "anchor") == 78
        assert "the witness refuses this log or its key" in capfd.readouterr().err
        witness.trusted.append(key)
        for number in range(3):
            learn(home, f"wd:Q{number + 2}")
            assert kbsync(home, "audit", "anchor") == 0
        (file,) = (home / "witnesses").iterdir()
        heads = read_anchors(file)
        assert [one.seq for one in heads] == [3, 4, 5]
        assert all(Note.parse(one.note).signed_by([witness.key.public]) for one in heads)
        assert kbsync(home, "audit", "verify") == 0
        file.unlink()  # it knows more than we remember
        learn(home, "wd:Q9")
        assert kbsync(home, "audit", "anchor") == 0


def test_a_server_that_knows_another_log_is_a_contradiction(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = create(home, capfd)
    older = tmp_path / "older.db"
    State.open(f"sqlite:///{home}/kbsync.db").copy_to(older)
    with serving(Cosigner([key])) as witness:
        (home / "kbsync.toml").write_text(f"[state]\nwitnesses = ['{witness.url}']\n")
        learn(home, "wd:Q2")
        assert kbsync(home, "audit", "anchor") == 0
        for name in ("kbsync.db", "kbsync.db-wal", "kbsync.db-shm"):
            (home / name).unlink(missing_ok=True)
        (home / "kbsync.db").write_bytes(older.read_bytes())
        (file,) = (home / "witnesses").iterdir()
        file.unlink()
        assert kbsync(home, "audit", "anchor") == 65
        assert "its tail was cut" in capfd.readouterr().err
        learn(home, "wd:Q3")
        learn(home, "wd:Q4")
        assert kbsync(home, "audit", "anchor") == 65
        assert "history was rewritten" in capfd.readouterr().err


def test_a_witness_that_is_away_is_asked_again(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    create(home, capfd)
    (home / "kbsync.toml").write_text("[state]\nwitnesses = ['http://127.0.0.1:9/add-checkpoint']\n")
    assert kbsync(home, "audit", "anchor") == 75
    assert kbsync(home, "audit", "verify") == 0
