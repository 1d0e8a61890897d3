"""Whatever is done to a log is found against one honest witness, and nothing is found where nothing was done.

Honest are: growing, keys that rotate, crashes (a torn line), and a restore that the operator declares.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from state import State
from state.anchors import read_anchors
from state.errors import AnchorContradicted
from state.hash_chain import link
from state.lineage import rotation
from state.notes import SigningKey
from state.records import Verification
from state.tree import Tree
from tests.support.ledgers import Clock, fact
from tests.support.properties import drawing, editions


class Kept:
    """A ledger in a directory, its key, and one witness that is out of reach for whoever tampers with the ledger."""

    def __init__(self, directory: Path, empty: Path) -> None:
        self.file, self.witness = directory / "kbsync.db", directory / "witness.jsonl"
        directory.mkdir()
        shutil.copy(empty, self.file)
        self.clock = Clock()
        self.state = State.open(f"sqlite:///{self.file}", self.clock)
        self.key = key("first")
        with self.state.write() as tx:
            tx.emit("key.created", "ada", {"key": str(self.key.public)})

    def grow(self, count: int) -> None:
        with self.state.write() as tx:
            for number in range(count):
                tx.emit("check.passed", "test", {"number": number})

    def learn(self, name: str) -> None:
        with self.state.write() as tx:
            tx.put_facts([fact(f"wd:{name}")], "test")

    def sign(self, *, restored: bool = False) -> None:
        self.state.audit.write_anchor(self.witness, self.key, restored=restored)

    def rotate(self, to: SigningKey) -> None:
        signature = base64.b64encode(self.key.signature(rotation(self.key.public, to.public))).decode()
        names = {"key": str(to.public), "previous": str(self.key.public), "signature": signature}
        with self.state.write() as tx:
            tx.emit("key.rotated", "ada", names)
        self.key = to

    def restore(self, older: Path) -> None:
        """As `kbsync restore` does it: another instance, and an event that says from where."""
        self.state.close()
        self.file.write_bytes(older.read_bytes())
        with self.state.read() as tx:
            head = tx.head()
            assert head is not None
        with self.state.write() as tx:
            tx.begin_instance({"head": head.seq}, "ada")

    def copy(self, name: str) -> Path:
        copy = self.file.with_name(name)
        self.state.copy_to(copy)
        return copy

    def verify(self, *, tables: bool = True) -> Verification:
        kept = read_anchors(self.witness)
        audit = self.state.audit
        return audit.verify_tables(*kept) if tables else audit.verify_since(kept[-1], [kept])

    def sql(self, *statements: str) -> None:
        """As the owner of the database."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS events_no_{verb}")
            for statement in statements:
                connection.execute(statement)


def key(name: str) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "kbsync.db"
    state = State.open(f"sqlite:///{file}")
    state.migrate()
    state.close()
    return file


@pytest.fixture
def kept(tmp_path: Path, empty: Path) -> Kept:
    made = Kept(tmp_path / "kept", empty)
    made.learn("Q1")
    made.sign()
    return made


def rewrite(kept: Kept, from_: int, *, forge: SigningKey | None = None) -> None:
    """A log written again from an event on with good hashes, its tree and its tables to match."""
    with closing(sqlite3.connect(kept.file)) as connection, connection:
        connection.row_factory = sqlite3.Row
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS events_no_{verb}")
        rows = [dict(row) for row in connection.execute("SELECT * FROM events ORDER BY seq")]
        previous = rows[from_ - 2]["hash"] if from_ > 1 else "0" * 64
        for row in rows[from_ - 1 :]:
            if row["seq"] == from_:
                row["at"] = row["at"].replace("2024", "2023")
            if forge is not None and row["kind"] == "key.created":
                row["body"] = json.dumps({"key": str(forge.public)}, separators=(",", ":"))
            row["previous"] = previous
            row["hash"] = previous = link(row)
            columns = ", ".join(f"{name} = :{name}" for name in row)
            connection.execute(f"UPDATE events SET {columns} WHERE seq = :seq", row)
        connection.execute("DELETE FROM subtrees")
    with kept.state.write() as tx:
        Tree(tx.connection).grow()
    assert kept.state.audit.verify_tables().ok, "without a witness nothing is wrong"


def test_an_honest_history_verifies_whole_and_from_its_last_head(kept: Kept) -> None:
    for count in (1, 300, 3):
        kept.grow(count)
        kept.sign()
        kept.sign()
        kept.learn(f"Q{count}{count}")
        assert kept.verify().ok
        assert kept.verify(tables=False).ok
    assert len(read_anchors(kept.witness)) == 4, "a head that has not moved is not added again"


def test_keys_rotate_and_old_heads_still_count(kept: Kept) -> None:
    kept.rotate(key("second"))
    kept.sign()
    assert kept.verify().ok
    lineage = kept.state.audit.lineage()
    assert [one.state for one in lineage.keys.values()] == ["retired", "signs"]
    assert lineage.descends(key("second").public, [key("first").public])


def test_what_a_revoked_key_signs_later_does_not_count(kept: Kept) -> None:
    with kept.state.write() as tx:
        tx.emit("key.revoked", "ada", {"key": str(kept.key.public), "reason": "stolen"})
    assert kept.verify().ok, "what it signed before still counts"
    kept.grow(1)
    with pytest.raises(AnchorContradicted, match="is not a key of this log or was revoked"):
        kept.sign()


def test_a_restore_is_in_order_once_it_is_declared_with_the_key(kept: Kept) -> None:
    older = kept.copy("older.db")
    kept.grow(5)
    kept.sign()
    kept.restore(older)
    found = kept.verify()
    assert (found.ok, found.first_bad, found.failed) == (False, 3, "anchors")
    with pytest.raises(AnchorContradicted, match=r"its tail was cut.*--restored"):
        kept.sign()
    kept.sign(restored=True)
    for _ in range(2):
        assert kept.verify().ok
        assert kept.verify(tables=False).ok
        kept.grow(10)
        kept.sign()


def test_a_second_restore_from_the_same_backup_is_in_order_too(kept: Kept) -> None:
    older = kept.copy("older.db")
    for count in (5, 9, 2):
        kept.grow(count)
        kept.sign()
        kept.restore(older)
        kept.sign(restored=True)
        assert kept.verify().ok


def test_a_restore_that_another_key_declares_is_none(kept: Kept) -> None:
    """Whoever can write SQL can write the event of a restore and create a key, but has not signed here before."""
    older = kept.copy("older.db")
    kept.grow(5)
    kept.sign()
    kept.restore(older)
    mallory = key("mallory")
    with kept.state.write() as tx:
        tx.emit("key.created", "mallory", {"key": str(mallory.public)})
    with pytest.raises(AnchorContradicted, match="its tail was cut"):
        kept.state.audit.write_anchor(kept.witness, mallory, restored=True)
    assert not kept.verify().ok


def test_a_log_written_again_with_another_key_is_found(kept: Kept) -> None:
    kept.grow(3)
    kept.sign()
    rewrite(kept, 1, forge=key("mallory"))
    found = kept.verify()
    assert (found.ok, found.failed, found.first_bad) == (False, "anchors", 2)


def test_unsigned_lines_of_before_still_verify(tmp_path: Path, empty: Path) -> None:
    kept = Kept(tmp_path / "kept", empty)
    kept.state.audit.write_anchor(kept.witness)
    assert "note" not in json.loads(kept.witness.read_text())
    kept.grow(2)
    kept.sign()
    assert [bool(one.note) for one in read_anchors(kept.witness)] == [False, True]
    assert kept.verify().ok


def forged(line: dict[str, object], how: str) -> dict[str, object]:
    if how == "hash":
        return {**line, "hash": "f" * 64}
    note = str(line["note"])
    text = note.partition("\n\n")[0] + "\n"
    if how == "another key":
        return {**line, "note": key("mallory").sign(text)}
    if how == "another root":
        origin, size, _, *rest = text.splitlines()
        other = "\n".join([origin, size, base64.b64encode(b"x" * 32).decode(), *rest]) + "\n"
        return {**line, "note": key("first").sign(other)}
    return {**line, "note": key("first").sign(text.replace("kbsync/", "kbsync/0"))}


@pytest.mark.parametrize("how", ["hash", "another key", "another root", "another log"])
def test_a_forged_line_is_found(kept: Kept, how: str) -> None:
    kept.grow(4)
    kept.sign()
    first, last = (json.loads(line) for line in kept.witness.read_text().splitlines())
    kept.witness.write_text(f"{json.dumps(first)}\n{json.dumps(forged(last, how))}\n")
    found = kept.verify()
    assert (found.ok, found.failed, found.first_bad) == (False, "anchors", last["seq"])


HONEST = st.lists(
    st.sampled_from(["grow", "much", "sign", "torn", "rotate", "backup", "restore", "migrate"]), max_size=12
)


@editions(quick=15)
def test_no_honest_history_is_an_alarm(examples: int, tmp_path: Path, empty: Path) -> None:
    """Growing, signing, crashes in the middle of a line, other keys, restores that are declared."""
    count = 0

    @drawing(examples)
    @given(HONEST)
    def holds(steps: list[str]) -> None:
        nonlocal count
        count += 1
        kept = Kept(tmp_path / str(count), empty)
        kept.sign()
        older, keys = kept.copy("older.db"), kept.key
        for number, step in enumerate(steps):
            match step:
                case "grow" | "much":
                    kept.grow(3 if step == "grow" else 300)
                case "sign":
                    kept.sign()
                case "torn" if kept.witness.read_bytes().endswith(b"\n"):
                    line = kept.witness.read_bytes().splitlines()[-1]
                    with kept.witness.open("ab") as file:
                        file.write(line[: 1 + number * 37 % (len(line) - 1)])
                case "rotate":
                    kept.rotate(key(f"key-{number}"))
                case "backup":
                    older, keys = kept.copy(f"older-{number}.db"), kept.key
                case "restore":
                    kept.restore(older)
                    kept.key = keys
                    kept.sign(restored=True)
                case "migrate":
                    kept.state.migrate()
            found = kept.verify()
            assert found.ok, (steps[: number + 1], found)
        kept.sign()
        assert kept.verify(tables=False).ok
        kept.state.close()

    holds()


def attacks(last: int) -> st.SearchStrategy[tuple[str, int, int]]:
    """What is done, to which event, and a number that it needs."""
    kinds = ["flip", "cut", "swap", "rewrite", "older", "forge", "subtree", "remove"]
    return st.tuples(st.sampled_from(kinds), st.integers(1, last), st.integers(0, 10**6))


@editions(quick=25)
def test_random_tampering_is_found_and_its_first_number_named(
    examples: int, tmp_path: Path, empty: Path
) -> None:
    base = Kept(tmp_path / "base", empty)
    base.learn("Q1")
    older = base.copy("older.db")
    for count in (3, 260, 2):
        base.grow(count)
        base.learn(f"Q{count}")
        base.sign()
    last = read_anchors(base.witness)[-1].seq
    heads = [one.seq for one in read_anchors(base.witness)]
    pristine, lines = base.copy("pristine.db").read_bytes(), base.witness.read_bytes()

    @drawing(examples)
    @given(attacks(last))
    def holds(attack: tuple[str, int, int]) -> None:
        how, seq, number = attack
        base.state.close()
        base.file.write_bytes(pristine)
        base.witness.write_bytes(lines)
        assert base.verify().ok
        expected = tampered(base, how, seq, number, older, heads)
        found = base.verify()
        assert not found.ok, attack
        if expected is not None:
            assert found.first_bad == expected, (attack, found)

    holds()


def tampered(kept: Kept, how: str, seq: int, number: int, older: Path, heads: list[int]) -> int | None:
    """Tamper; returns the first number that has to be named, None where it is a row of a table."""
    witnessed = next(head for head in heads if head >= seq)
    match how:
        case "flip":
            column = ("at", "kind", "actor", "body", "previous", "hash")[number % 6]
            kept.sql(
                f"UPDATE events SET {column} = replace({column}, substr({column}, 3, 1), '~') WHERE seq = {seq}"
            )
            return seq
        case "cut":
            kept.state.close()
            kept.sql(f"DELETE FROM events WHERE seq >= {seq}", "DELETE FROM subtrees")
            return seq
        case "remove":
            kept.sql(f"DELETE FROM events WHERE seq = {seq}")
            return seq
        case "swap":
            other = seq % heads[-1] + 1
            moves = ((seq, 10**6), (other, seq), (10**6, other))
            kept.sql(*(f"UPDATE events SET seq = {to} WHERE seq = {at}" for at, to in moves))
            return min(seq, other)
        case "rewrite":
            rewrite(kept, seq, forge=key("mallory") if number % 2 else None)
            return witnessed
        case "older":
            kept.state.close()
            kept.file.write_bytes(older.read_bytes())
            return 3
        case "forge":
            rows = [json.loads(line) for line in kept.witness.read_text().splitlines()]
            place = number % len(rows)
            ways = ("hash", "another key", "another root", "another log")
            rows[place] = forged(rows[place], ways[seq % 4])
            kept.witness.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
            return heads[place]
    kept.sql("UPDATE subtrees SET hash = replace(hash, substr(hash, 1, 1), 'z')")
    return None
