"""Whoever is forgotten, whatever their names: a search of every byte of the home finds nothing of them."""

from __future__ import annotations

import gzip
import json
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.cursors import unpack
from connectors.rows.whole_reading import WholeCursor
from kbsync.proofs import verify_proof
from state import State
from state.records import StoredEntity
from tests.support.ledgers import Clock, carried, fact, gate, planned, said
from tests.support.properties import drawing, editions
from tests.support.proven import kbsync

OTHER = "wd:Q38"
LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßéñçøåłşğıΑβγЖдшאבجد李明东京田中한글नम'-\u0301"
)
WORD = st.text(LETTERS, min_size=4, max_size=9).filter(lambda word: word.strip("-'\u0301 ") == word)
LONGEST_BY_CHANCE = 8
"""Digests and keys, which are random letters of ASCII, may well have a word of this length in them."""
NAME = (
    st.lists(WORD, min_size=1, max_size=3)
    .map(" ".join)
    .filter(lambda name: not name.isascii() or len(name) > LONGEST_BY_CHANCE)
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Path:
    """A home with a key and another's fact."""
    home = tmp_path_factory.mktemp("template") / "home"
    home.mkdir()
    shutil.copy(empty_file, home / "kbsync.db")
    (home / "kbsync.toml").write_text("[model]\npath = 'model'\n")
    assert kbsync(home, "keys", "create") == 0
    return home


def fill(home: Path, person: str, names: list[str]) -> None:
    """The person is a subject, a value, and is quoted wherever something can be quoted."""
    label, *aliases = names
    state = State.open(f"sqlite:///{home}/kbsync.db", Clock())
    with state.write() as tx:
        tx.put_entities([StoredEntity(person, label, tuple(aliases), True), StoredEntity(OTHER, "Italy")])
        stated = json.dumps([{"id": f"{person}$1", "object": person}, {"id": "s2", "object": "wd:Q1"}])
        tx.record([said(person, '[{"id":"x","object":"wd:Q1"}]'), said(OTHER, stated)])
        tx.put_facts(
            [
                fact(person, "wd:Q1"),
                fact(OTHER, person, relation="wdt:P35"),
                fact(OTHER, "wd:Q1", reason=f"before it was {label}"),
                fact(OTHER, f"lit:{names[-1]}", relation="wdt:P6000"),
            ],
            "admission",
        )
        run = carried(tx, planned(tx), "built")
        tx.put_gate_results(run.id, [gate(run.id)])
        tx.advance_run(run.id, "built", "failed", actor="test", reason=f"asked about {names[-1]}")
        held = {(person, "wdt:P6"): "0123", (OTHER, "wdt:P6"): "4567"}
        tx.set_cursor("rows", WholeCursor(7, held).dump())
        tx.put_check("base", False, f"it said: {label}", "test")
    state.close()
    report = home / "runs" / "1" / "round-1"
    report.mkdir(parents=True)
    for number, text in enumerate((label, json.dumps({"x": f"\n{label}"}), label.upper())):
        (report / f"{number}.json").write_text(text)
    (report / "utf-16.json").write_bytes(f"a {names[-1]}.".encode("utf-16"))
    (report / "decomposed.json").write_text(unicodedata.normalize("NFD", label))
    (report / "packed.json.gz").write_bytes(gzip.compress(f"({label})".encode()))
    (home / "runs" / "worker.log").write_text(f"before\nof {label}\n{names[-1]} too\nafter\n")


def forms(names: list[str]) -> list[bytes]:
    """How an investigator would search for the names."""
    spelled = {
        form
        for name in names
        for form in (name, name.upper(), name.lower(), unicodedata.normalize("NFD", name))
    }
    return [
        form
        for name in spelled
        for form in (
            name.encode(),
            name.encode("utf-16-le"),
            name.encode("utf-16-be"),
            json.dumps(name)[1:-1].encode(),
        )
    ]


def contents(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield path.name, content
            if content.startswith(b"\x1f\x8b"):
                yield path.name, gzip.decompress(content)
    state = State.open(f"sqlite:///{home}/kbsync.db")
    with state.read() as tx:
        cursor = json.loads(tx.cursor("rows") or "{}")
        yield "cursor", unpack(cursor["held"]).encode()
    state.close()


@pytest.mark.slow
@editions(quick=2, thorough=200)
def test_nothing_of_anyone_is_left(examples: int, template: Path, tmp_path: Path) -> None:
    count = 0

    @drawing(examples)
    @given(st.lists(NAME, min_size=1, max_size=4, unique_by=str.casefold), st.integers(10**6, 10**9))
    def holds(names: list[str], number: int) -> None:
        nonlocal count
        count += 1
        person = f"wd:Q{number}"
        home = tmp_path / str(count)
        shutil.copytree(template, home)
        fill(home, person, names)
        searched = [*forms(names), f"Q{number}".encode()]
        before = list(contents(home))
        assert {name for name, content in before if searched[-1] in content} >= {"kbsync.db", "cursor"}
        assert kbsync(home, "prove", "run", 1, "--out", home / "run.json") == 0
        proof = json.loads((home / "run.json").read_text())
        (home / "run.json").unlink()
        assert kbsync(home, "forget", person, "--reason", "a request of 1 May", "--yes") == 0
        left = [(name, form) for name, content in contents(home) for form in searched if form in content]
        assert not left, (names, left)
        assert (home / "runs" / "worker.log").read_text() == "before\nafter\n"
        assert kbsync(home, "audit", "verify", "--tables") == 0
        verify_proof.check(proof, proof["key"])
        assert kbsync(home, "prove", "run", 1, "--out", tmp_path / "run.json") == 0
        again = json.loads((tmp_path / "run.json").read_text())
        verify_proof.check(again, again["key"])
        shutil.rmtree(home)

    holds()
