"""Another kbsync as a witness over HTTP: it cosigns what continues the head it saw last, and refuses all else."""

from __future__ import annotations

import base64
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kbsync.application import Application
from kbsync.home import Home
from kbsync.pages.server import serving
from kbsync.proofs import keys
from kbsync.settings.loading import load
from state.anchors import read_anchors
from state.cosignatures import WitnessKey, cosign
from state.merkle import consistency, full_nodes, leaf_hash, root
from state.notes import Note, PublicKey, SigningKey, TreeHead
from tests.support.proven import kbsync, make
from tests.support.witnessed import rewrite_file

ORIGIN = "kbsync/another"


class Log:
    """A log of so many leaves whose heads its key signs; `salt` makes another history of it."""

    def __init__(self, salt: str = "") -> None:
        self.key = SigningKey("log", Ed25519PrivateKey.from_private_bytes(b"l" * 32))
        self.node = full_nodes([leaf_hash(f"{salt}{number}".encode()) for number in range(64)])

    def head(self, size: int, origin: str = ORIGIN, key: SigningKey | None = None) -> str:
        return (key or self.key).sign(TreeHead(origin, size, root(size, self.node)).text)

    def submission(self, old: int, size: int, head: str | None = None) -> str:
        steps = [base64.b64encode(step).decode() for step in consistency(min(old, size), size, self.node)]
        return "\n".join([f"old {old}", *steps, "", head or self.head(size)])


@pytest.fixture
def witness(tmp_path: Path, empty_ledger: Path) -> Iterator[tuple[Path, str]]:
    """A home that is a witness of `Log`, and the address of its witness."""
    (tmp_path / "witness").mkdir()
    home = make(tmp_path / "witness", empty_ledger)
    with serving_witness(home, {"other": (ORIGIN, str(Log().key.public))}) as address:
        yield home, address


@contextmanager
def serving_witness(home: Path, logs: dict[str, tuple[str, str]]) -> Iterator[str]:
    """The pages of a home that is a witness of these logs: origin and key by name."""
    tables = (
        f"[witnessed.{name}]\norigin = '{origin}'\nkeys = ['{key}']\n" for name, (origin, key) in logs.items()
    )
    (home / "kbsync.toml").write_text("".join(tables))
    app = Application(Home(home), load(home / "kbsync.toml"))
    with app, serving(app, "127.0.0.1:0") as address:
        yield f"{address}/witness"


def submit(address: str, body: str | bytes) -> httpx.Response:
    return httpx.post(f"{address}/add-checkpoint", content=body, timeout=30)


def witness_key(home: Path) -> WitnessKey:
    with Application(Home(home), load(None)) as app:
        found = keys.signer(app)
    assert found is not None
    return WitnessKey.of(found.public)


def test_a_head_that_continues_the_last_one_is_cosigned(witness: tuple[Path, str]) -> None:
    home, address = witness
    log, key = Log(), witness_key(home)
    for old, size in ((0, 3), (3, 3), (3, 20), (20, 64)):
        answer = submit(address, log.submission(old, size))
        assert answer.status_code == 200
        whole = Note.parse(log.head(size) + answer.text)
        assert key.cosigned(whole) is not None
        assert whole.signed_by([log.key.public]) is not None
    shown = httpx.get(f"{address}/checkpoint/other").text
    assert TreeHead.parse(Note.parse(shown).text).size == 64
    assert key.cosigned(Note.parse(shown)) is not None
    assert httpx.get(f"{address}/checkpoint/nobody").status_code == 404


REFUSED: dict[str, tuple[Callable[[Log], str | bytes], int]] = {
    "an unknown log": (lambda log: log.submission(0, 5, log.head(5, "kbsync/unknown")), 404),
    "another key": (
        lambda log: log.submission(
            20, 30, log.head(30, key=SigningKey("log", Ed25519PrivateKey.from_private_bytes(b"m" * 32)))
        ),
        403,
    ),
    "an old size that is stale": (lambda log: log.submission(3, 30), 409),
    "an old size of a later head": (lambda log: log.submission(30, 40), 409),
    "a smaller head": (lambda log: log.submission(20, 10), 400),
    "another head of the same size": (lambda log: Log("fork").submission(20, 20), 409),
    "a rewritten history": (lambda log: Log("fork").submission(20, 30), 422),
    "a proof with a step too many": (
        lambda log: log.submission(20, 30).replace(
            "\n\n", f"\n{base64.b64encode(b'x' * 32).decode()}\n\n", 1
        ),
        422,
    ),
    "no proof": (lambda log: f"old 20\n\n{log.head(30)}", 422),
    "nothing": (lambda log: "", 400),
    "bytes that are no text": (lambda log: b"\xff\xfe\n\n", 400),
    "a size that is no number": (lambda log: f"old 2O\n\n{log.head(30)}", 400),
    "a size with a leading zero": (lambda log: f"old 020\n\n{log.head(30)}", 400),
    "a step that is no hash": (lambda log: f"old 20\nAAAA\n\n{log.head(30)}", 400),
    "a head without a signature": (lambda log: f"old 20\n\n{ORIGIN}\n30\nAAAA\n", 400),
    "more steps than a proof has": (lambda log: "old 20\n" + "QUE=\n" * 64 + "\n" + log.head(30), 400),
}


def test_everything_else_is_refused_and_changes_nothing(witness: tuple[Path, str]) -> None:
    _, address = witness
    log = Log()
    assert submit(address, log.submission(0, 20)).status_code == 200
    for how, (body, status) in REFUSED.items():
        answer = submit(address, body(log))
        assert answer.status_code == status, how
        assert "—" not in answer.text, f"a refusal has no cosignature: {how}"
        if status == 409:
            assert answer.text == "20\n", how
            assert answer.headers["content-type"].startswith("text/x.tlog.size"), how
        assert submit(address, log.submission(20, 20)).status_code == 200, (
            f"the last head was replaced: {how}"
        )


def test_of_two_histories_that_arrive_together_only_one_is_cosigned(witness: tuple[Path, str]) -> None:
    _, address = witness
    answers: list[int] = []
    bodies = [Log(salt).submission(0, size) for salt in ("", "fork") for size in (5, 6, 7)]
    threads = [
        threading.Thread(target=lambda body=body: answers.append(submit(address, body).status_code))
        for body in bodies
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(answers) == [200, *[409] * (len(bodies) - 1)]


def test_a_kbsync_without_logs_to_witness_is_no_witness(tmp_path: Path, empty_ledger: Path) -> None:
    with serving_witness(make(tmp_path, empty_ledger), {}) as address:
        assert submit(address, Log().submission(0, 5)).status_code == 404


def test_a_cosignature_of_the_specifications_example_verifies() -> None:
    """The head and cosignature that C2SP's tlog-cosignature shows are of a key that is not given: their parts are."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    key = SigningKey("witness.example.com/w1", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
    at = datetime.fromtimestamp(1679315147, UTC)
    line = cosign(key, text, at)
    note = Note.parse(f"{text}\n{line}")
    (_, _, signature) = note.signatures[0]
    message = f"cosignature/v1\ntime 1679315147\n{text}"
    assert signature[:8] == (1679315147).to_bytes(8)
    key.private.public_key().verify(signature[8:], message.encode())
    assert WitnessKey.parse(str(WitnessKey.of(key.public))).cosigned(note) == at
    later = Note(note.text, tuple((n, i, (5).to_bytes(8) + s[8:]) for n, i, s in note.signatures))
    assert WitnessKey.of(key.public).cosigned(later) is None


def log_and_witness(root: Path, empty_ledger: Path) -> tuple[dict[str, Path], str, PublicKey]:
    """Two homes by name, and the origin and key of the log of the first."""
    homes = {}
    for name in ("log", "witness"):
        (root / name).mkdir()
        homes[name] = make(root / name, empty_ledger)
    with Application(Home(homes["log"]), load(None)) as app:
        origin, signer = app.state.audit.origin(), keys.signer(app)
    assert signer is not None
    return homes, origin, signer.public


def test_a_rewritten_log_is_refused_by_the_witness_and_found_with_nothing_kept_here(
    tmp_path: Path, empty_ledger: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    homes, origin, public = log_and_witness(tmp_path, empty_ledger)
    with serving_witness(homes["witness"], {"log": (origin, str(public))}) as address:
        (homes["log"] / "kbsync.toml").write_text(
            f"[state]\nwitnesses = ['{address}/add-checkpoint']\nwitness_keys = ['{witness_key(homes['witness'])}']\n"
        )
        assert kbsync(homes["log"], "audit", "anchor") == 0
        assert kbsync(homes["log"], "audit", "verify", "--tables") == 0
        (file,) = (homes["log"] / "witnesses").iterdir()
        (kept,) = read_anchors(file)
        assert witness_key(homes["witness"]).cosigned(Note.parse(kept.note)) is not None
        shown = httpx.get(f"{address}/checkpoint/log").text
        assert Note.parse(shown).text == Note.parse(kept.note).text
        assert kbsync(homes["log"], "keys", "create", "--for", "models") == 0, "the log grows"
        assert kbsync(homes["log"], "audit", "verify") == 0
        rewrite_file(homes["log"] / "kbsync.db", 3)
        file.unlink()  # whoever can write to the home deletes what it remembers, too
        capfd.readouterr()
        for command in (("audit", "verify"), ("audit", "verify", "--incremental"), ("audit", "anchor")):
            assert kbsync(homes["log"], *command) == 65
            assert "history was rewritten" in capfd.readouterr().err
        key_created = cut(homes["log"] / "kbsync.db", "kind = 'key.created'")
        assert kbsync(homes["log"], "audit", "verify") == 65
        assert f"event {key_created + 1}" in capfd.readouterr().err
        cut(homes["log"] / "kbsync.db", "seq = 5")
        assert kbsync(homes["log"], "audit", "verify") == 78, "it says that nothing is signed any more"
        assert "takes signed heads only" in capfd.readouterr().err
        assert httpx.get(f"{address}/checkpoint/log").text != "", "what it saw is still there to compare with"


def cut(file: Path, where: str) -> int:
    """Delete every event after the one that fulfils the condition; returns its number."""
    with closing(sqlite3.connect(file)) as connection, connection:
        (seq,) = connection.execute(f"SELECT seq FROM events WHERE {where}").fetchone()
        connection.execute(f"DELETE FROM events WHERE seq > {seq}")
        connection.execute("DELETE FROM subtrees")
    return int(seq)


def test_a_cosignature_by_another_witness_is_refused(
    tmp_path: Path, empty_ledger: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    homes, origin, public = log_and_witness(tmp_path, empty_ledger)
    with serving_witness(homes["witness"], {"log": (origin, str(public))}) as address:
        other = WitnessKey.of(public)
        (homes["log"] / "kbsync.toml").write_text(
            f"[state]\nwitnesses = ['{address}/add-checkpoint']\nwitness_keys = ['{other}']\n"
        )
        assert kbsync(homes["log"], "audit", "anchor") == 65
        assert "by none of its keys" in capfd.readouterr().err


def test_the_key_of_a_witness_is_printed(
    tmp_path: Path, empty_ledger: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = make(tmp_path, empty_ledger)
    capfd.readouterr()
    assert kbsync(home, "keys", "show", "--witness") == 0
    assert capfd.readouterr().out.strip() == str(witness_key(home))
    assert kbsync(home, "keys", "show", "--witness", "--for", "models") == 2
