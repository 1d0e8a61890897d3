"""The audit log: nobody changes, removes or cuts anything without the verifier naming the first bad event."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sqlite3
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from state import State
from state.anchors import read_anchors
from state.audit import read_jsonl, verify_rows
from state.errors import AnchorContradicted, AnchorMissing, Damaged, Unreachable
from state.hash_chain import GENESIS, canonical, link
from state.records import Anchor
from tests.support.ledgers import Clock, fact, said

CHANGES = {  # a small change to each column, whatever it holds (hashes are salted)
    "seq": "seq + 100", "at": "replace(at, '2024', '2023')", "kind": "kind || ' '", "actor": "upper(actor)",
    "run": "coalesce(run, 0) + 1", "fact": "coalesce(fact, 0) + 1", "body": "replace(body, ':', ': ')",
    "previous": "substr(hash, 2) || substr(hash, 1, 1)", "hash": "substr(hash, 2) || substr(hash, 1, 1)",
}  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def fill(state: State, events: int = 12) -> None:
    with state.write() as tx:
        tx.record([said()])
        facts = [fact(f"wd:Q{number}", reason=f"Begründung № {number}") for number in range(events - 1)]
        tx.put_facts(facts, "admission")


def without_triggers(state: State, *statements: str) -> None:
    """What the owner of the table can do, and nobody else."""
    with state.write() as tx:
        run = tx.connection.execute
        if tx.connection.dialect.name == "postgresql":
            run(text("ALTER TABLE events DISABLE TRIGGER ALL"))
        else:
            for verb in ("update", "delete"):
                run(text(f"DROP TRIGGER IF EXISTS events_no_{verb}"))
        for statement in statements:
            run(text(statement))


def test_a_third_party_can_verify_an_export_from_the_specification_alone(state: State) -> None:
    fill(state)
    out = io.StringIO()
    assert state.audit.export_jsonl(out) == 12
    previous = "0" * 64
    for number, line in enumerate(out.getvalue().splitlines(), start=1):
        event = json.loads(line)
        stated = event.pop("hash")
        assert (event["seq"], event["previous"]) == (number, previous)
        assert hashlib.sha256(rfc8785.dumps(event)).hexdigest() == stated
        assert rfc8785.dumps(json.loads(event["body"])).decode() == event["body"]
        previous = stated


def test_an_exports_copy_verifies_like_the_table(state: State) -> None:
    fill(state)
    lines, sheet = io.StringIO(), io.StringIO()
    state.audit.export_jsonl(lines)
    assert state.audit.export_csv(sheet) == 12
    assert verify_rows(read_jsonl(lines.getvalue().splitlines())) == state.audit.verify()
    rows = list(csv.DictReader(io.StringIO(sheet.getvalue())))
    assert [row["body"] for row in rows] == [
        json.loads(line)["body"] for line in lines.getvalue().splitlines()
    ]


def test_events_are_found_by_run_fact_and_kind(state: State) -> None:
    fill(state, 5)
    with state.write() as tx:
        tx.emit("poll.failed", "connector", {"source": "wikidata", "lag_s": float("inf")}, run=None)
        assert [event.seq for event in tx.events(kind="fact.*")] == [2, 3, 4, 5]
        assert [event.seq for event in tx.events(after=4)] == [5, 6]
        assert [event.seq for event in tx.events(after=1, limit=2)] == [2, 3]
        assert [event.kind for event in tx.events(fact=2)] == ["fact.wanted"]
        assert json.loads(tx.head().body)["lag_s"] == "Infinity"
    assert state.audit.verify().count == 6


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET actor = 'x'", "DELETE FROM events", "DELETE FROM events WHERE seq = 3"]
)
def test_the_log_is_append_only(state: State, statement: str) -> None:
    fill(state)
    with pytest.raises(DBAPIError, match="append-only"), state.write() as tx:
        tx.connection.execute(text(statement))
    assert state.audit.verify().ok


@pytest.mark.parametrize("column", CHANGES)
def test_the_first_changed_event_is_named(state: State, column: str) -> None:
    fill(state)
    for seq in (1, 7, 12):
        without_triggers(state, f"UPDATE events SET {column} = {CHANGES[column]} WHERE seq = {seq}")
        found = state.audit.verify()
        assert (found.ok, found.first_bad) == (False, seq), found.reason
        without_triggers(state, f"DELETE FROM events WHERE seq >= {seq}")
        fill_up(state)


def fill_up(state: State) -> None:
    """Twelve events again, after some were taken away."""
    with state.write() as tx:
        head = tx.head()
        for _ in range(12 - (head.seq if head else 0)):
            tx.emit("note", "test", {"a": "b"})
    assert state.audit.verify().ok


def test_every_byte_of_every_row_counts(new_url) -> None:
    """Each byte of each text column flipped in turn, in the file's own rows, even to broken UTF-8."""
    url = new_url("sqlite")
    state = State.open(url, Clock())
    fill(state, 2)
    without_triggers(state)
    assert state.audit.verify().ok
    database = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    database.text_factory = bytes
    tried = 0
    for column in ("at", "kind", "actor", "body", "previous", "hash"):
        for seq, value in database.execute(f"SELECT seq, {column} FROM events").fetchall():
            for place in range(len(value)):
                changed = value[:place] + bytes([value[place] ^ (1 + tried % 255)]) + value[place + 1 :]
                put = f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = ?"
                database.execute(put, (changed, seq))
                found = state.audit.verify()
                assert (found.ok, found.first_bad) == (False, seq), (column, place, found)
                database.execute(put, (value, seq))
                tried += 1
    assert state.audit.verify().ok
    assert tried > 600
    state.close()


def test_a_removed_event_is_named(state: State) -> None:
    fill(state)
    without_triggers(state, "DELETE FROM events WHERE seq = 5")
    found = state.audit.verify()
    assert (found.ok, found.first_bad) == (False, 5)
    assert "missing" in found.reason


def test_two_events_that_changed_places_are_named(state: State) -> None:
    fill(state)
    moves = ((4, 50), (5, 4), (50, 5))
    without_triggers(state, *(f"UPDATE events SET seq = {to} WHERE seq = {from_}" for from_, to in moves))
    assert state.audit.verify().first_bad == 4


def test_a_cut_tail_is_found_with_the_anchor_and_only_with_it(state: State) -> None:
    fill(state)
    anchor = state.audit.anchor()
    without_triggers(state, "DELETE FROM events WHERE seq > 9")
    assert state.audit.verify().ok, "the chain alone cannot know how long it was"
    found = state.audit.verify(anchor)
    assert (found.ok, found.first_bad) == (False, 10)


def test_a_history_rewritten_with_good_hashes_is_found_with_the_anchor(state: State) -> None:
    fill(state)
    anchor = state.audit.anchor()
    without_triggers(state, "DELETE FROM events WHERE seq > 3")
    fill_up(state)
    assert state.audit.verify().ok
    found = state.audit.verify(anchor)
    assert (found.ok, found.first_bad) == (False, 12)
    assert "rewritten" in found.reason


def test_the_anchor_file_only_grows_and_only_when_the_head_has_moved(state: State, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    assert state.audit.write_anchor(path) is None
    fill(state, 3)
    first = state.audit.write_anchor(path)
    state.audit.write_anchor(path)
    before = path.read_text()
    with state.write() as tx:
        tx.emit("note", "test", {})
    second = state.audit.write_anchor(path)
    assert path.read_text().startswith(before)
    assert len(path.read_text().splitlines()) == 2
    assert (first.seq, second.seq) == (3, 4)
    assert read_anchors(path) == (first, second)
    assert state.audit.verify(first).ok
    assert state.audit.verify(second).ok


@pytest.mark.parametrize(
    "content",
    [
        "not JSON\n",
        '{"seq": 1}\n',
        "[]\n",
        "\ufffd",
        "[" * 100_000,
        f'{{"seq": 1, "hash": "{"a" * 64}", "at": "2024-01-01"}}',
        f'{{"seq": {2**63}, "hash": "{"a" * 64}", "at": "2024-01-01T00:00:00Z"}}',
        f'{{"seq": {"9" * 5_000}, "hash": "{"a" * 64}", "at": "2024-01-01T00:00:00Z"}}',
    ],
)
def test_a_file_that_is_no_anchor_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "anchor"
    path.write_text(content)
    with pytest.raises(Damaged, match="is not an anchor file"):
        read_anchors(path)


def test_an_anchor_file_may_come_from_another_system_and_out_of_order(state: State, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    for count in (3, 12):
        fill(state, count)
        state.audit.write_anchor(path)
    lines = path.read_text().splitlines()
    path.write_bytes("\r\n".join([*reversed(lines), lines[0], ""]).encode())
    assert state.audit.verify(*read_anchors(path)).ok
    head = state.audit.write_anchor(path)
    assert head is not None
    assert len(read_anchors(path)) == 3, "nothing new was anchored"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_no_anchor_file_and_nobody_waits_for_it(
    state: State, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "anchors"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    fill(state)
    for use in (read_anchors, state.audit.write_anchor):
        with pytest.raises(Unreachable, match="not a regular file"):
            use(path)


def rewritten(state: State, from_: int) -> None:
    """A past written again from an event on, with good hashes, to the same length."""
    without_triggers(state, f"DELETE FROM events WHERE seq >= {from_}")
    fill_up(state)


def test_every_anchor_is_compared_not_only_the_newest(state: State, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    fill(state)
    early = state.audit.write_anchor(path)
    rewritten(state, 4)
    late = state.audit.anchor()
    with path.open("a") as file:  # whoever rewrote the log anchors it by hand
        file.write(json.dumps({"seq": late.seq, "hash": late.hash, "at": late.at.isoformat()}) + "\n")
    assert late.seq == early.seq
    found = state.audit.verify(*read_anchors(path))
    assert (found.ok, found.first_bad) == (False, 12)
    assert "rewritten" in found.reason


def test_a_contradicted_anchor_file_is_named_and_left_as_it_is(state: State, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    fill(state)
    state.audit.write_anchor(path)
    before = path.read_bytes()
    without_triggers(state, "DELETE FROM events WHERE seq > 9")
    with pytest.raises(AnchorContradicted, match=r"anchors\.jsonl contradicts the log.*12 was anchored.*cut"):
        state.audit.write_anchor(path)
    fill_up(state)
    with pytest.raises(AnchorContradicted, match=r"event 12 is not the one that was anchored at 2024"):
        state.audit.write_anchor(path)
    without_triggers(state, "DELETE FROM events")
    with pytest.raises(AnchorContradicted, match="ends at 0"):
        state.audit.write_anchor(path)
    assert path.read_bytes() == before


def test_an_empty_anchor_file_starts(state: State, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.touch()
    assert read_anchors(path) == ()
    fill(state)
    written = state.audit.write_anchor(path)
    assert read_anchors(path) == (written,)


def test_a_missing_anchor_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnchorMissing, match=r"no anchor file .*anchors\.jsonl"):
        read_anchors(tmp_path / "anchors.jsonl")


@pytest.mark.parametrize("left", [1, 9, 40, 120, -1])
def test_a_torn_last_line_is_repaired(state: State, tmp_path: Path, left: int) -> None:
    path = tmp_path / "anchors.jsonl"
    fill(state, 3)
    first = state.audit.write_anchor(path)
    whole = path.read_text()
    torn = whole[:left]
    path.write_text(whole + torn)
    assert set(read_anchors(path)) == {first}
    with state.write() as tx:
        tx.emit("note", "test", {})
    second = state.audit.write_anchor(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == ([3, 3, 4] if left == -1 else [3, 4])
    assert state.audit.verify(*read_anchors(path)).ok
    assert read_anchors(path)[-1] == second


def test_a_torn_line_on_storage_that_only_appends_is_ended_and_passed_over(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "anchors.jsonl"
    fill(state, 3)
    first = state.audit.write_anchor(path)
    with path.open("a") as file:
        file.write('{"seq": 4, "ha' + "\0" * 20)

    def append_only(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.truncate", append_only)
    before = path.read_bytes()
    with state.write() as tx:
        tx.emit("note", "test", {})
    second = state.audit.write_anchor(path)
    assert path.read_bytes().startswith(before)
    assert read_anchors(path) == (first, second)


def test_an_empty_log_verifies_unless_something_was_anchored(state: State, clock: Clock) -> None:
    assert state.audit.verify().ok
    assert state.audit.verify(Anchor(1, "x", clock())).first_bad == 1


@given(JSON)
def test_the_text_of_an_event_is_canonical_json(value: object) -> None:
    body = canonical(value)
    assert rfc8785.dumps(json.loads(body, parse_int=float)).decode() == body


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(1, 2**53 - 1),
    st.none() | st.integers(1, 2**53 - 1),
)
def test_the_hash_is_over_canonical_json(words: str, seq: int, run: int | None) -> None:
    row = {
        "seq": seq,
        "at": words,
        "kind": words,
        "actor": words,
        "run": run,
        "fact": None,
        "body": words,
        "previous": GENESIS,
    }
    assert link(row) == hashlib.sha256(rfc8785.dumps(row)).hexdigest()


def test_what_json_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="plain JSON values"):
        canonical({"x": object()})
