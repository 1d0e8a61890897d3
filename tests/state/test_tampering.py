"""Whatever is done to a log or its tables is found against any one honest witness, and honest histories are no alarm.

One history is made, with keys that rotate and a promotion; every example tampers with a copy of it.  One witness, drawn
at random, is honest: the others had their lines deleted, or were given heads of what the log was made into.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.anchors import read_anchors
from state.columns import UTCDateTime
from state.errors import StateError
from state.records import Verification
from state.seals import LEFT_OUT, is_sealed, key_columns, key_text
from state.tables import LedgerTable
from state.tree import Tree
from tests.support.ledgers import carried, planned
from tests.support.properties import drawing, editions
from tests.support.witnessed import FORGERIES, Kept, forged, key, rewrite

TABLES = [one for one in LedgerTable.metadata.sorted_tables if is_sealed(one)]
PROVEN = [
    *TABLES,
    *(LedgerTable.metadata.tables[name] for name in ("events", "views", "view_facts", "subtrees")),
]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """In memory, where there is such a place: these tests are about bytes, not about disks."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@dataclass
class World:
    """The honest history, and a copy of it to tamper with."""

    kept: Kept
    witnesses: list[Path]
    older: bytes = b""
    pristine: bytes = b""
    fork: bytes = b""
    """A history of its own from event 3 on, as long as the honest one, that verifies."""
    lines: list[bytes] = field(default_factory=list)
    heads: list[list[int]] = field(default_factory=list)
    last: int = 0
    """The newest event that every witness has."""
    rows: list[tuple[str, Row]] = field(default_factory=list)
    """Every sealed row, by table."""

    def reset(self) -> None:
        self.kept.replace(self.pristine)
        self.kept.key = key("second")
        for path, content in zip(self.witnesses, self.lines, strict=True):
            path.write_bytes(content)

    def verify(self) -> Verification:
        return self.kept.state.audit.verify_tables(witnesses=[read_anchors(path) for path in self.witnesses])


@pytest.fixture(scope="module")
def world(directory: Path, empty_file: Path) -> World:
    kept = Kept(directory / "world", empty_file)
    a, b, c = witnesses = [directory / f"witness-{name}.jsonl" for name in "abc"]
    made = World(kept, witnesses)
    kept.learn("Q1")
    made.older = kept.copy("older.db").read_bytes()
    for witness in (a, b):
        kept.sign(witness)
    kept.grow(3)
    promote(kept)
    kept.grow(260)
    kept.rotate(key("second"))
    kept.learn("Q2")
    for witness in (a, c):
        kept.sign(witness)
    kept.grow(2)
    for witness in witnesses:
        kept.sign(witness)
    kept.grow(2)
    made.pristine = kept.copy("pristine.db").read_bytes()
    made.lines = [path.read_bytes() for path in witnesses]
    made.heads = [[one.seq for one in read_anchors(path)] for path in witnesses]
    made.last = min(heads[-1] for heads in made.heads)
    with closing(sqlite3.connect(kept.file)) as connection:
        made.rows = [(one.name, row) for one in TABLES for row in contents(connection, one.name)]
    kept.replace(made.older)
    kept.key = key("first")
    kept.learn("Q3")
    kept.grow(made.last)
    made.fork = kept.copy("fork.db").read_bytes()
    made.reset()
    assert made.verify().ok
    return made


def promote(kept: Kept) -> None:
    lease = kept.state.acquire_lease("leader", "here", 3_600)
    with kept.state.write() as tx:
        run = carried(tx, planned(tx), "staged")
        assert run.checkpoint is not None
        tx.promote(run.checkpoint, lease, run=run.id, hooks=["vllm"])


def contents(connection: sqlite3.Connection, table: str) -> list[Row]:
    connection.row_factory = sqlite3.Row
    return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def proven(file: Path) -> object:
    """What verification answers for, as plain SQLite reads it; None where it cannot be read."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.text_factory = bytes
            left_out = {name: LEFT_OUT.get(name, frozenset()) for name in (one.name for one in PROVEN)}
            return [
                [
                    {k: v for k, v in row.items() if k not in left_out[one.name]}
                    for row in contents(connection, one.name)
                ]
                for one in PROVEN
            ]
    except (sqlite3.DatabaseError, OverflowError):
        return None


@dataclass(frozen=True)
class Attack:
    """What is done, to which event, with a number that it needs, and which witness stays honest."""

    how: str
    seq: int
    number: int
    honest: int
    resigned: bool
    """The other witnesses are given heads of the tampered log; otherwise their lines are deleted."""


REWRITTEN = ("cut", "older", "fork", "rewrite", "forged key")
"""What leaves a log whose chain, tree and tables agree."""
KINDS = (*REWRITTEN, "flip", "swap", "remove", "forge", "append", "subtree", "row", "byte")


def attacks(last: int) -> st.SearchStrategy[Attack]:
    return st.builds(
        Attack,
        how=st.sampled_from(KINDS),
        seq=st.integers(1, last),
        number=st.integers(0, 10**9),
        honest=st.integers(0, 2),
        resigned=st.booleans(),
    )


@editions(quick=40)
def test_random_tampering_is_found_and_its_first_number_named(examples: int, world: World) -> None:
    @drawing(examples)
    @given(attacks(world.last))
    def holds(attack: Attack) -> None:
        world.reset()
        expected = TAMPER[attack.how](world, attack)
        doctor_the_others(world, attack)
        if attack.how == "byte":
            assert_damage_is_found(world, attack)
            return
        found = world.verify()
        assert not found.ok, attack
        if isinstance(expected, int):
            assert found.first_bad == expected, (attack, found)
        else:
            named = {(one.table, one.key) for one in found.differences}
            assert expected in named or (expected[0], "?") in named or "?" in {key for _, key in named}, (
                attack,
                found,
            )
        kept = read_anchors(world.witnesses[attack.honest])
        since = world.kept.state.audit.verify_since(kept[-1], [kept])
        assert not since.ok or attack.how not in REWRITTEN, attack

    holds()


def assert_damage_is_found(world: World, attack: Attack) -> None:
    pristine = world.kept.file.with_name("pristine.db")
    try:
        found = world.verify()
    except StateError:
        return  # SQLite itself finds the file damaged
    if found.ok:
        assert proven(world.kept.file) == proven(pristine), attack


def doctor_the_others(world: World, attack: Attack) -> None:
    """Whoever is not honest keeps what suits the tampered log."""
    if attack.how in ("forge", "append"):
        return
    for number, path in enumerate(world.witnesses):
        if number == attack.honest:
            continue
        path.write_bytes(b"")
        if attack.resigned and attack.how in ("cut", "older", "fork", "rewrite") and attack.seq > 2:
            world.kept.sign(path)


def witnessed(world: World, attack: Attack) -> int:
    """The first head of the honest witness that an event of this number is under."""
    return next(head for head in world.heads[attack.honest] if head >= attack.seq)


def flip(world: World, attack: Attack) -> int:
    """One character of one column of an event."""
    with closing(sqlite3.connect(world.kept.file)) as connection:
        row = next(row for row in contents(connection, "events") if row["seq"] == attack.seq)
    columns = [name for name in row if name not in ("seq", "seal_salt")]
    column = columns[attack.number % len(columns)]
    world.kept.sql(changed("events", {"seq": attack.seq}, column, row[column], attack.number))
    return attack.seq


def changed(table: str, where: Row, column: str, value: Any, number: int) -> str:
    """The SQL that gives a column another value."""
    if isinstance(value, str) and value:
        at = number // 7 % len(value)
        other = str(9 - int(value[at])) if value[at] in "0123456789" else "~" if value[at] != "~" else "!"
        value = value[:at] + other + value[at + 1 :]
    else:
        # Keys stay unique, and what is true or false is the other.
        value = 7 if value in (None, "") else 1 - value if value in (0, 1) else value + 1_000_003
    condition = " AND ".join(f"{name} = {quoted(one)}" for name, one in where.items())
    return f"UPDATE {table} SET {column} = {quoted(value)} WHERE {condition}"


def quoted(value: Any) -> str:
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def cut(world: World, attack: Attack) -> int:
    world.kept.state.close()
    world.kept.sql(f"DELETE FROM events WHERE seq >= {attack.seq}", "DELETE FROM subtrees")
    if attack.resigned:
        with world.kept.state.write() as tx:
            Tree(tx.connection).grow()
    world.kept.key = key("second" if attack.seq > rotated(world) else "first")
    return attack.seq


def rotated(world: World) -> int:
    with closing(sqlite3.connect(world.kept.file.with_name("pristine.db"))) as connection:
        return int(connection.execute("SELECT seq FROM events WHERE kind = 'key.rotated'").fetchone()[0])


def remove(world: World, attack: Attack) -> int:
    world.kept.sql(f"DELETE FROM events WHERE seq = {attack.seq}")
    return attack.seq


def swap(world: World, attack: Attack) -> int:
    other = (attack.seq + attack.number % (world.last - 1)) % world.last + 1
    moves = ((attack.seq, 10**6), (other, attack.seq), (10**6, other))
    world.kept.sql(*(f"UPDATE events SET seq = {to} WHERE seq = {at}" for at, to in moves))
    return min(attack.seq, other)


def rewritten(world: World, attack: Attack) -> int:
    rewrite(world.kept, attack.seq)
    return witnessed(world, attack)


def forged_key(world: World, attack: Attack) -> int:
    """The whole log, signed by a key that was never the operator's."""
    rewrite(world.kept, 1, forge=key("mallory"))
    return world.heads[attack.honest][0]


def older(world: World, attack: Attack) -> int:
    world.kept.replace(world.older)
    world.kept.key = key("first")
    return 3


def fork(world: World, attack: Attack) -> int:
    """A split view: the others are shown another log, signed with the operator's own key."""
    world.kept.replace(world.fork)
    world.kept.key = key("first")
    return next(head for head in world.heads[attack.honest] if head > 2)


def forge(world: World, attack: Attack) -> int:
    """A line of one of the witnesses is another."""
    path = world.witnesses[attack.honest]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    place = attack.number % len(rows)
    rows[place] = forged(rows[place], FORGERIES[attack.seq % len(FORGERIES)])
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return world.heads[attack.honest][place]


def append(world: World, attack: Attack) -> int:
    """A line is added that the log did not write, of an event that is there."""
    path = world.witnesses[attack.honest]
    line = json.loads(path.read_text().splitlines()[-1])
    added = forged(line, FORGERIES[attack.seq % len(FORGERIES)])
    path.write_text(f"{path.read_text()}{json.dumps(added)}\n")
    return int(line["seq"])


def subtree(world: World, attack: Attack) -> tuple[str, str]:
    world.kept.sql("UPDATE subtrees SET hash = replace(hash, substr(hash, 1, 1), 'z')")
    return "subtrees", "1/0"


def row(world: World, attack: Attack) -> tuple[str, str]:
    """One column of one row of a table, whatever the database's own constraints say."""
    name, values = world.rows[attack.number % len(world.rows)]
    source = LedgerTable.metadata.tables[name]
    keys = [one.name for one in source.primary_key.columns]
    columns = [one for one in values if one not in keys and one not in LEFT_OUT.get(name, ())]
    column = columns[attack.seq % len(columns)]
    where = {one: values[one] for one in keys}
    instant = isinstance(
        source.c[column].type, UTCDateTime
    )  # whatever stands between date and time is read as a space
    number = 7 * (len("2024-01-01 00:00:00") - 1) if instant else attack.number
    world.kept.sql(
        "PRAGMA ignore_check_constraints = ON", changed(name, where, column, values[column], number)
    )
    return name, key_text([values[one.name] for one in key_columns(source)])


def byte(world: World, attack: Attack) -> int:
    """One byte of the database's file."""
    content = bytearray(world.pristine)
    content[attack.number % len(content)] ^= 1 << attack.seq % 8
    world.kept.replace(bytes(content))
    return 0


TAMPER: dict[str, Callable[[World, Attack], int | tuple[str, str]]] = {
    "cut": cut,
    "older": older,
    "fork": fork,
    "rewrite": rewritten,
    "forged key": forged_key,
    "flip": flip,
    "swap": swap,
    "remove": remove,
    "forge": forge,
    "append": append,
    "subtree": subtree,
    "row": row,
    "byte": byte,
}

HONEST = st.lists(
    st.sampled_from(
        ["grow", "much", "sign", "torn", "crash", "rotate", "backup", "restore", "migrate", "verify"]
    ),
    max_size=12,
)


@editions(quick=15, thorough=3_000)
def test_no_honest_history_is_an_alarm(examples: int, directory: Path, empty_file: Path) -> None:
    """Growing, signing, crashes in the middle of a line or a transaction, other keys, restores that are declared."""
    count = 0

    @drawing(examples)
    @given(HONEST)
    def holds(steps: list[str]) -> None:
        nonlocal count
        count += 1
        kept = Kept(directory / str(count), empty_file)
        kept.sign()
        older, keys = kept.copy("older.db"), kept.key
        for number, step in enumerate(steps):
            match step:
                case "grow" | "much":
                    kept.grow(3 if step == "grow" else 300)
                case "sign":
                    kept.sign()
                case "torn":
                    tear(kept, number)
                case "crash":
                    crash(kept)
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
                case "verify":
                    assert kept.verify().ok, steps[: number + 1]
        assert kept.verify().ok, steps
        kept.sign()
        assert kept.verify(tables=False).ok, steps
        kept.state.close()
        for file in kept.file.parent.iterdir():
            file.unlink()

    holds()


def tear(kept: Kept, number: int) -> None:
    """A crash left a part of the newest line."""
    content = kept.witness.read_bytes()
    if content.endswith(b"\n"):
        line = content.splitlines()[-1]
        kept.witness.write_bytes(content + line[: 1 + number * 37 % (len(line) - 1)])


def crash(kept: Kept) -> None:
    """A process that ends within a transaction leaves nothing of it."""

    class Killed(BaseException):
        pass

    def work() -> None:
        with kept.state.write() as tx:
            tx.emit("check.passed", "test", {})
            raise Killed

    with pytest.raises(Killed):
        work()
