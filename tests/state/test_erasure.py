"""A subject that was forgotten: nothing of it is left in the ledger, and the log still proves everything else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, text

from state import State
from state.anchors import read_anchors
from state.audit import read_jsonl, verify_rows
from state.fact_queries import FACTS
from state.hash_chain import link
from state.log_proofs import events
from state.names import SubjectNames
from state.notes import SigningKey
from state.records import Erased, StoredEntity
from state.seals import digest, salted
from state.tables import LedgerTable
from tests.support.ledgers import carried, fact, gate, planned, said

PERSON = "wd:Q42"
WORDS = ("Ada Byron", "Countess of Lovelace", "Q42")
KEY = SigningKey("first", Ed25519PrivateKey.from_private_bytes(b"k" * 32))


@pytest.fixture
def filled(state: State) -> State:
    """A person with a fact, who is an object, and whom a reason and a failed run quote; a key signs the log."""
    with state.write() as tx:
        tx.emit("key.created", "test", {"key": str(KEY.public)})
        tx.put_entities(
            [
                StoredEntity(PERSON, WORDS[0], (WORDS[1],), True),
                StoredEntity("wd:Q38", "Italy"),
                StoredEntity("wd:Q1", "Rome"),
            ]
        )
        stated = json.dumps(
            [{"id": "s1", "kind": "entity", "object": PERSON}, {"id": "s2", "object": "wd:Q1"}]
        )
        tx.record([said(PERSON, '[{"id":"Q42$a","object":"wd:Q1"}]'), said("wd:Q38", stated)])
        tx.put_facts(
            [
                fact(PERSON, "wd:Q1"),
                fact("wd:Q38", PERSON, relation="wdt:P35"),
                fact("wd:Q38", "wd:Q1", reason=f"it was {WORDS[0]} before"),
            ],
            "admission",
        )
        run = carried(tx, planned(tx), "built")
        tx.put_gate_results(run.id, [gate(run.id)])
        tx.advance_run(run.id, "built", "failed", actor="test", reason=f"asked about {WORDS[1]}")
    return state


def forget(state: State, subject: str = PERSON, key: SigningKey | None = KEY) -> Erased:
    with state.write() as tx:
        erased = tx.erase_subject(subject, "a request of 1 May", "operator", key and key.signature)
    state.compact()
    return erased


def test_nothing_of_the_subject_is_left_in_the_file(filled: State) -> None:
    pattern = SubjectNames(PERSON, WORDS).spelled()
    assert [name for name, content in contents(filled) if pattern.search(content)]
    erased = forget(filled)
    assert (erased.facts, erased.slots) == (2, (("wd:Q38", "wdt:P6"),))
    assert [name for name, content in contents(filled) if pattern.search(content)] == []


def contents(state: State) -> Iterator[tuple[str, bytes]]:
    """Every row of every table as text; of an SQLite ledger, its files as well."""
    with state.read() as tx:
        for source in LedgerTable.metadata.sorted_tables:
            for row in tx.connection.execute(select(source)):
                yield source.name, repr(tuple(row)).encode()
    if state.url.get_backend_name() == "sqlite":
        path = Path(str(state.url.database))
        for file in path.parent.glob(f"{path.name}*"):
            yield file.name, file.read_bytes()


def test_log_tables_and_witness_still_verify(filled: State, tmp_path: Path) -> None:
    witness = tmp_path / "witness.jsonl"
    filled.audit.write_anchor(witness, KEY)
    head = filled.audit.anchor()
    forget(filled)
    found = filled.audit.verify_tables(witnesses=[read_anchors(witness)])
    assert found.ok, found
    filled.audit.write_anchor(witness, KEY)
    assert filled.audit.verify(witnesses=[read_anchors(witness)]).ok
    assert head is not None
    assert filled.audit.verify_since(head).ok
    with filled.read() as tx:
        assert {f.reason_code for f in tx.facts(status="retracted")} == {"erased"}
        assert [f.subject for f in tx.wanted()] == ["wd:Q38"]
        assert tx.forgotten([PERSON, "wd:Q38"]) == {PERSON}


def test_a_second_subject_is_forgotten_as_well(filled: State) -> None:
    forget(filled)
    assert forget(filled, "wd:Q1").number == 2
    assert filled.audit.verify_tables().ok
    with filled.read() as tx:
        assert tx.forgotten([PERSON, "wd:Q1", "wd:Q2"]) == {PERSON, "wd:Q1"}


def redacted_events(state: State) -> list[int]:
    with state.read() as tx:
        return [row["seq"] for row in events(tx.connection) if '"redacted"' in row["body"]]


def test_what_an_erasure_left_of_an_event_cannot_be_changed(filled: State) -> None:
    forget(filled)
    first = redacted_events(filled)[0]
    with filled.write() as tx, tx._events_writable():
        tx.connection.execute(text(f"UPDATE events SET actor = 'x' WHERE seq = {first}"))
    found = filled.audit.verify()
    assert (found.ok, found.first_bad) == (False, first)


def test_a_change_cannot_pass_for_an_erasure(filled: State) -> None:
    """Whoever can write SQL can append an event that vouches for it, but cannot sign."""
    forget(filled, key=None)
    found = filled.audit.verify()
    assert (found.ok, found.first_bad) == (False, redacted_events(filled)[0])
    assert "without the signature" in found.reason


def test_the_log_is_protected_again_afterwards(filled: State) -> None:
    forget(filled)
    with pytest.raises(Exception, match="append-only"), filled.write() as tx:
        tx.connection.execute(text("UPDATE events SET actor = 'x' WHERE seq = 1"))


def test_a_released_subject_may_be_learnt_again(filled: State) -> None:
    number = forget(filled).number
    with filled.write() as tx:
        tx.release_forgotten(number, "consent was given", "operator")
        assert tx.forgotten([PERSON]) == frozenset()
    assert filled.audit.verify_tables().ok


def test_a_subject_that_was_merged_at_its_source_stays_forgotten(filled: State) -> None:
    forget(filled)
    with filled.write() as tx:
        tx.follow_forgotten(PERSON, "wd:Q43")
        assert tx.forgotten(["wd:Q43"]) == {"wd:Q43"}


def test_a_name_that_something_else_has_too_stays_there(filled: State) -> None:
    with filled.write() as tx:
        tx.put_entities([StoredEntity("wd:Q9", WORDS[1])])
    assert forget(filled).shared == 1
    with filled.read() as tx:
        assert tx.entities(["wd:Q9"])["wd:Q9"].label == WORDS[1]
    assert filled.audit.verify_tables().ok


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("Ann met Annabel", "[forgotten] met Annabel"),
        ("ANN", "[forgotten]"),
        ("crm:7 is Ann's", "[forgotten] is [forgotten]'s"),
        ('{"Ann":["of Ann",1.5]}', '{"[forgotten]":["of [forgotten]",1.5]}'),
        ("我是李明吗", "我是[forgotten]吗"),
    ],
)
def test_names_are_found_as_words(words: str, left: str) -> None:
    assert SubjectNames("crm:7", ["Ann", "李明"]).replaced(words) == left


def test_a_guess_at_what_was_erased_cannot_be_confirmed(filled: State) -> None:
    """Hashes and seals stay, but the salts that they were made with are gone, in the file's free pages, too."""
    with filled.read() as tx:
        before = {row["seq"]: row for row in events(tx.connection)}
        row = tx.connection.execute(select(FACTS).where(FACTS.c.id == 1)).mappings().one()
        guess = digest([dict(row)])
    hidden = [one["rows"] or "" for one in before.values()]
    assert any(salted(one["seal_salt"], guess) in one["rows"] for one in before.values() if one["rows"])
    forget(filled)
    redacted = redacted_events(filled)
    assert redacted
    with filled.read() as tx:
        left = {row["seq"]: row for row in events(tx.connection)}
    for seq in redacted:
        assert link(before[seq]) == before[seq]["hash"] == left[seq]["hash"]
        assert link({**before[seq], "salt": None}) != left[seq]["hash"]
    salts = {one["seal_salt"] for one in left.values()}
    assert not any(salted(salt, guess) in rows for salt in salts for rows in hidden)
    gone = [before[seq]["salt"] for seq in redacted] + [
        one["seal_salt"] for seq, one in before.items() if one["seal_salt"] != left[seq]["seal_salt"]
    ]
    assert len(gone) > len(redacted)
    assert not [name for name, content in contents(filled) if any(salt.encode() in content for salt in gone)]


def test_an_export_of_a_log_with_erasures_verifies(filled: State) -> None:
    forget(filled)
    written = io.StringIO()
    filled.audit.export_jsonl(written)
    lines = written.getvalue().splitlines()
    assert verify_rows(read_jsonl(lines)).ok
    assert all("seal_salt" not in line for line in lines)
    first = redacted_events(filled)[0]
    lines[first - 1] = lines[first - 1].replace("2024", "2023")
    assert verify_rows(read_jsonl(lines)).first_bad == first
