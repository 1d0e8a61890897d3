"""A small ledger whose log is signed and witnessed, and what an owner of its database can do to it."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state import State
from state.anchors import read_anchors
from state.hash_chain import link
from state.lineage import rotation
from state.notes import SigningKey
from state.records import Verification
from state.tree import Tree
from tests.support.ledgers import Clock, fact


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

    def sign(self, witness: Path | None = None, *, restored: bool = False) -> None:
        self.state.audit.write_anchor(witness or self.witness, self.key, restored=restored)

    def rotate(self, to: SigningKey) -> None:
        signature = base64.b64encode(self.key.signature(rotation(self.key.public, to.public))).decode()
        names = {"key": str(to.public), "previous": str(self.key.public), "signature": signature}
        with self.state.write() as tx:
            tx.emit("key.rotated", "ada", names)
        self.key = to

    def replace(self, content: bytes) -> None:
        """Another database file in the place of this one."""
        self.state.close()
        self.file.write_bytes(content)

    def restore(self, older: Path) -> None:
        """As `kbsync restore` does it: another instance, and an event that says from where."""
        self.replace(older.read_bytes())
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


def rewrite(kept: Kept, from_: int, *, forge: SigningKey | None = None) -> None:
    """A log written again from an event on with good hashes, its tree and its tables to match."""
    rewrite_file(kept.file, from_, forge=forge)
    with kept.state.write() as tx:
        Tree(tx.connection).grow()
    assert kept.state.audit.verify_tables().ok, "without a witness nothing is wrong"


def rewrite_file(file: Path, from_: int, *, forge: SigningKey | None = None) -> None:
    """The events of a ledger's file, written again from one on; the tree grows when the next one is written."""
    with closing(sqlite3.connect(file)) as connection, connection:
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


FORGERIES = ("hash", "another key", "another root", "another log")


def forged(line: dict[str, object], how: str) -> dict[str, object]:
    """A line of a witness that its log did not write."""
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
