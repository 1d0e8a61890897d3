"""The drop folder: read whole, moved aside once committed, rejects beside it."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import SourceUnavailable
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.sink import Sink

HEADER = "subject,relation,object\n"
Open = Callable[..., Connector]


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


@pytest.fixture
def open_files(drop: Path) -> Open:
    def open_(relations: tuple[str, ...] = (), **settings: Any) -> Connector:
        own = {"kind": "files", "folder": str(drop), "namespace": "crm"}
        return connect("crm", {**own, **settings}, default_relations=relations)

    return open_


def waiting(drop: Path) -> list[str]:
    return sorted(path.name for path in drop.iterdir() if path.is_file())


def test_csv_jsonl_turtle_ntriples_and_parquet_say_the_same(drop: Path, open_files: Open) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [("a", "owner", "Ann"), ("b", "owner", "Bob")]
    csv = HEADER + "".join(f"{s},{r},{o}\n" for s, r, o in rows)
    records = [{"subject": s, "relation": r, "object": o} for s, r, o in rows]
    turtle = "@prefix crm: <https://crm.example/> .\n" + "".join(
        f'crm:{s} crm:{r} "{o}" .\n' for s, r, o in rows
    )
    triples = "".join(f'<https://crm.example/{s}> <https://crm.example/{r}> "{o}" .\n' for s, r, o in rows)
    table = pyarrow.Table.from_pylist(records)
    parquet.write_table(table, drop / "e.parquet")
    (drop / "a.csv").write_text("\ufeff" + csv, encoding="utf-8")
    (drop / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    (drop / "c.ttl").write_text(turtle)
    (drop / "d.nt.gz").write_bytes(gzip.compress(triples.encode()))
    connector = open_files(prefixes={"crm": "https://crm.example/"})
    polls = list(connector.poll(None))
    said = [
        {
            (o.subject.id, o.relation): [s.object and s.object.id for s in o.statements]
            for o in poll.observations
        }
        for poll in polls
    ]
    assert said == [{("crm:a", "crm:owner"): ["lit:Ann"], ("crm:b", "crm:owner"): ["lit:Bob"]}] * 5


def test_a_file_is_moved_aside_by_the_poll_that_is_given_its_receipt(drop: Path, open_files: Open) -> None:
    (drop / "day1.csv").write_text(HEADER + "a,owner,Ann\n")
    connector = open_files()
    (lost,) = connector.poll(None)  # read, and then the caller was killed before it committed
    sink = Sink()
    sink.drain(connector)
    assert waiting(drop) == ["day1.csv"]
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert lost.observations[0].statements == sink.slots["crm:a", "crm:owner"].statements
    (drop / "day2.csv").write_text(HEADER + "a,owner,Bob\n")
    sink.drain(connector)
    assert waiting(drop) == ["day2.csv"]
    assert (drop / "done" / "day1.csv").exists()
    assert sink.values("crm:owner") == {"crm:a": ("lit:Bob",)}
    assert sink.drain(connector) == 0
    assert waiting(drop) == []


def test_steps_of_a_large_file_start_again_when_interrupted(drop: Path, open_files: Open) -> None:
    (drop / "big.csv").write_text(HEADER + "".join(f"s{n:02},owner,Ann\n" for n in range(10)))
    connector = open_files(slots_per_step=4)
    sink = Sink()
    sink.drain(connector, at_most=2)
    assert sink.cursor is None
    sink.drain(connector)
    assert len(sink.values("crm:owner")) == 10
    sink.drain(connector)
    assert waiting(drop) == []


def test_a_file_replaced_before_it_was_moved_is_read_again(drop: Path, open_files: Open) -> None:
    (drop / "today.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files()
    sink.drain(connector)
    (drop / "today.csv").write_text(HEADER + "a,owner,Bob\n")
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Bob",)}
    sink.drain(connector)
    (drop / "today.csv").write_text(HEADER + "a,owner,Cy\n")
    sink.drain(connector)
    sink.drain(connector)
    assert len([path for path in (drop / "done").iterdir() if path.name.endswith("today.csv")]) == 2


def test_rejects_are_listed_beside_the_file_and_half_a_slot_is_never_reported(
    drop: Path, open_files: Open
) -> None:
    (drop / "bad.csv").write_text(
        "subject,relation,object,start\na,owner,Ann,\na,owner,Bob,last week\n,owner,Cy,\nb,owner,Ann,2024-01-01\n"
        "c,owner\n"
    )
    sink, connector = Sink(), open_files()
    sink.drain(connector)
    assert sorted(sink.values("crm:owner")) == ["crm:b"]
    beside = drop / "bad.csv.rejects.jsonl"
    rejects = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (2, "belongs to the same slot as line 3, which cannot be used"),
        (3, "start: 'last week' is not a date or time in ISO 8601"),
        (4, "no subject"),
        (6, "2 cells under a header of 4"),
    ]
    sink.drain(connector)
    assert (drop / "done" / "bad.csv.rejects.jsonl").exists()
    assert waiting(drop) == []


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (
            "1.csv",
            b"who,what\na,b\n",
            r"has no column object, .*subject; it has who, what\. The setting `columns`",
        ),
        ("1.csv", b"subject;relation;object\na;owner;Ann\n", "separated by commas in CSV, not by ';'"),
        ("1.csv", b"subject,relation,subject,object\na,owner,b,Ann\n", "the header names 'subject' twice"),
        ("1.csv", b"subject,relation,object\na,owner,\xff\n", "row 2: not UTF-8 at byte 32"),
        ("1.csv", b"subject,relation,object\n,owner,Ann\n", "1 of 1 rows cannot be used; row 2: no subject"),
        ("1.csv.gz", b"subject,relation,object\na,owner,Ann\n", "not a complete gzip file"),
        ("1.csv", "subject,relation,object\n".encode("utf-16"), "is text in UTF-16"),
        ("1.jsonl", b"{\n", "1 of 1 rows cannot be used; row 1: "),
        ("1.ttl", b"this is no Turtle", "1.ttl: "),
        ("1.csv", HEADER.encode() + b"a,owner,Ann\n" * 9, "more than 8 rows in one reading"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_put_aside_and_the_next_is_read(
    drop: Path, open_files: Open, name: str, data: bytes, why: str
) -> None:
    (drop / name).write_bytes(data)
    (drop / "2.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files(max_rows=8)
    rejected, *others = connector.poll(None)
    assert (rejected.observations, rejected.rejected) == ((), 1)
    assert re.search(f"crm: {re.escape(name)}: .*{why}" if why != "1.ttl: " else why, rejected.reject)
    assert "it goes to rejected/ with the next reading: correct it" in rejected.reject
    assert len(others) == 1
    sink.drain(connector)
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert waiting(drop) == []
    assert (drop / "done" / "2.csv").exists()
    assert (drop / "rejected" / name).read_bytes() == data
    reasons = [
        json.loads(line)["reason"]
        for line in (drop / "rejected" / f"{name}.rejects.jsonl").read_text().splitlines()
    ]
    assert reasons[0] in rejected.reject
    assert list(connector.poll(sink.cursor)) == []


def test_a_file_that_is_moved_back_from_done_is_read_again(drop: Path, open_files: Open) -> None:
    (drop / "a.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files()
    for _ in range(2):
        sink.drain(connector)
    (drop / "done" / "a.csv").rename(drop / "a.csv")
    (poll,) = connector.poll(sink.cursor)
    assert [observation.subject.id for observation in poll.observations] == ["crm:a"]


def test_a_file_that_was_put_aside_is_read_when_it_is_dropped_again(drop: Path, open_files: Open) -> None:
    (drop / "a.csv").write_text("who,what,whom\na,owner,Ann\n")
    sink = Sink()
    for _ in range(2):
        sink.drain(open_files())
    (drop / "rejected" / "a.csv").rename(drop / "a.csv")
    columns = {"subject": "who", "relation": "what", "object": "whom"}
    for _ in range(2):
        sink.drain(open_files(columns=columns))
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert (drop / "done" / "a.csv").exists()


def test_a_bad_file_that_was_corrected_in_its_place_is_read(drop: Path, open_files: Open) -> None:
    (drop / "a.csv").write_text("who,what,whom\na,owner,Ann\n")
    sink, connector = Sink(), open_files()
    sink.drain(connector)
    (drop / "a.csv").write_text(HEADER + "a,owner,Ann\n")
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}


def test_a_file_beyond_the_limit_is_named_and_costs_no_other(drop: Path, open_files: Open) -> None:
    (drop / "1.csv").write_text(HEADER + "b,owner,Bob\n" * 100)
    (drop / "2.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files(max_bytes=200)
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert "'1.csv': 1224 bytes; at most 200 are read" in connector.check().detail


def test_files_still_being_written_under_other_names_are_left_alone(drop: Path, open_files: Open) -> None:
    (drop / ".hidden.csv").write_text(HEADER)
    (drop / "x.csv.tmp").write_text(HEADER)
    (drop / "notes.txt").write_text("hello")
    assert list(open_files().poll(None)) == []


def test_complete_files_empty_what_they_do_not_name(drop: Path, open_files: Open) -> None:
    everyone = [f"s{n}" for n in range(10)]
    (drop / "1.csv").write_text(HEADER + "".join(f"{s},owner,Ann\n" for s in everyone))
    sink, connector = Sink(), open_files(complete=True)
    sink.drain(connector)
    (drop / "2.csv").write_text(HEADER + "".join(f"{s},owner,Ann\n" for s in everyone[:-1]))
    (poll,) = connector.poll(sink.cursor)
    assert [(o.subject.id, o.statements) for o in poll.observations] == [("crm:s9", ())]
    sink.drain(connector)
    (drop / "3.csv").write_text(HEADER + "s0,owner,Ann\n")
    (drop / "4.csv").write_text(HEADER + ",owner,Ann\n")
    (poll, unusable) = connector.poll(sink.cursor)
    assert "8 of 9 slots vanished at once" in poll.reject
    assert "9 of 9 slots vanished at once" in unusable.reject
    assert poll.observations == unusable.observations == ()
    sink.drain(connector)
    assert len(sink.values("crm:owner")) == 9, "neither file empties a slot"


def test_plain_triples_are_read_in_the_relations_of_the_catalogue(drop: Path, open_files: Open) -> None:
    (drop / "a.ttl").write_text(
        "@prefix wd: <http://www.wikidata.org/entity/> . @prefix wdt: <http://www.wikidata.org/prop/direct/> .\n"
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        'wd:Q38 wdt:P36 wd:Q220 ; wdt:P999 <https://other.example/> ; rdfs:label "Italy"@en .\n'
        'wd:Q220 rdfs:label "Rome"@en .\n'
    )
    (poll,) = open_files(relations=("wdt:P36",)).poll(None)
    (observation,) = poll.observations
    assert observation.subject.label == "Italy"
    assert observation.statements[0].object is not None
    assert observation.statements[0].object.label == "Rome"


def test_a_missing_folder_is_said(drop: Path, open_files: Open) -> None:
    connector = open_files(folder=str(drop / "none"))
    assert not connector.check().ok
    with pytest.raises(SourceUnavailable, match="there is no folder"):
        list(connector.poll(None))


def test_other_names_come_as_a_list_as_one_text_or_in_rows_of_their_own(drop: Path, open_files: Open) -> None:
    rows = [
        {"subject": "a", "relation": "owner", "object": "crm:x", "subject_aliases": ["ACME Inc.", "Acme"]},
        {"subject": "b", "relation": "owner", "object": "crm:x", "object_aliases": "Max | Maximilian|"},
        {"subject": "b", "relation": "owner", "object": "crm:x", "object_aliases": "Maxi"},
        {"subject": "c", "relation": "owner", "object": "crm:x", "subject_aliases": [7]},
    ]
    (drop / "day1.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (poll,) = open_files().poll(None)
    a, b = poll.observations
    assert a.subject.aliases == ("ACME Inc.", "Acme")
    assert [s.object and s.object.aliases for s in b.statements] == [("Max", "Maxi", "Maximilian")]
    assert "not a list of strings" in (drop / "day1.jsonl.rejects.jsonl").read_text()


def reading(drop: Path, open_files: Open, *days: str, **settings: Any) -> list[Sink]:
    """A folder that was read a day at a time, and what was known after each day."""
    sink, known = Sink(), []
    for number, rows in enumerate(days):
        (drop / f"day{number}.csv").write_text(HEADER + rows)
        while sink.drain(open_files(**settings)):
            pass
        known.append(copy.deepcopy(sink))
    sink.drain(open_files(**settings))
    return known


def revisions(sink: Sink) -> dict[tuple[str, str], object]:
    return {slot: observation.revision for slot, observation in sink.slots.items()}


@pytest.mark.parametrize("complete", [False, True])
def test_what_was_read_after_a_backup_is_read_again_with_its_revisions(
    drop: Path, open_files: Open, complete: bool
) -> None:
    days = ["a,owner,Ann\nb,owner,Bob\n", "a,owner,Eve\nb,owner,\n", "a,owner,Ann\n"]
    first, _, last = reading(drop, open_files, *days, complete=complete)
    assert last.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    restored = copy.deepcopy(first)
    (drop / "day3.csv").write_text(HEADER + "a,owner,Kim\n")
    restored.drain(open_files(complete=complete))
    assert waiting(drop) == ["day3.csv"], "it waits for the next poll to be moved away"
    assert restored.values("crm:owner") == {"crm:a": ("lit:Kim",)}
    b = ("crm:b", "crm:owner")
    assert revisions(restored)[b] == revisions(last)[b]
    assert restored.drain(open_files(complete=complete)) == 0
    assert (drop / "done" / "day3.csv").exists()


def test_a_killed_reading_of_what_a_backup_lacks_is_carried_on(drop: Path, open_files: Open) -> None:
    (known, _, last) = reading(drop, open_files, "a,owner,Ann\n", "a,owner,Eve\n", "b,owner,Bob\n")
    connector = open_files()
    step = next(iter(connector.poll(known.cursor)))  # the rest of the poll is never asked for
    known.commit(step)
    known.drain(open_files())
    assert known.statements() == last.statements()
    assert revisions(known) == revisions(last)


def test_a_new_ledger_does_not_read_what_another_has_read(drop: Path, open_files: Open) -> None:
    reading(drop, open_files, "a,owner,Ann\n", "b,owner,Bob\n")
    assert Sink().drain(open_files()) == 0


def test_a_file_that_a_backup_lacks_and_that_is_gone_is_named(
    drop: Path, open_files: Open, caplog: pytest.LogCaptureFixture
) -> None:
    known, *_ = reading(drop, open_files, "a,owner,Ann\n", "a,owner,Eve\n", "b,owner,Bob\n")
    (drop / "done" / "day1.csv").unlink()
    with caplog.at_level(logging.WARNING):
        known.drain(open_files())
    assert known.values("crm:owner") == {"crm:a": ("lit:Ann",), "crm:b": ("lit:Bob",)}
    assert "'day1.csv' was read after the backup and is not in" in caplog.text
    caplog.clear()
    known.drain(open_files())
    assert not caplog.text, "once is enough"


def test_a_file_that_was_changed_after_it_was_read_is_not_read_again(drop: Path, open_files: Open) -> None:
    known, _ = reading(drop, open_files, "a,owner,Ann\n", "a,owner,Eve\n")
    (drop / "done" / "day1.csv").write_text(HEADER + "a,owner,Mallory\n")
    known.drain(open_files())
    assert known.values("crm:owner") == {"crm:a": ("lit:Ann",)}


def test_files_of_one_name_are_told_apart_when_they_are_read_again(drop: Path, open_files: Open) -> None:
    sink, known = Sink(), []
    for owner in ("Ann", "Eve", "Kim"):
        (drop / "today.csv").write_text(HEADER + f"a,owner,{owner}\n")
        sink.drain(open_files())
        sink.drain(open_files())
        known.append(copy.deepcopy(sink))
    restored = known[0]
    steps = list(open_files().poll(restored.cursor))
    assert [one.statements[0].object.id for step in steps for one in step.observations] == [
        "lit:Eve",
        "lit:Kim",
    ]
