"""A file that crashes its parser, or never ends, costs itself: the daemon's process reads none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.border import Unusable
from connectors.errors import SourceDataError
from connectors.observations import Connector, Poll
from connectors.registry import connect
from connectors.rows import row_lines
from connectors.rows.child import ReaderDied
from connectors.rows.columns import Numbered
from connectors.rows.isolation import READER, Isolation
from connectors.rows.parsed_files import ParseRequest, parsed_rows
from connectors.terms import Term
from tests.support.paths import REPOSITORY
from tests.support.properties import drawing, editions
from tests.support.sink import Sink

LIMITS = Isolation(max_seconds=60, max_memory=2**32)
TRIPLE = '<https://crm.example/{}> <https://crm.example/owner> "Ann" .\n'
DYING = """
import os
from connectors import rdf
from connectors.rows import reader_process
parse = rdf.triples
def triples(data, *rest):
    if b"ABORT" in data:
        os.abort()
    if b"SEGFAULT" in data:
        import ctypes; ctypes.string_at(0)
    if b"ONCE" in data and not os.path.exists(os.environ["TMPDIR"] + "/died"):
        open(os.environ["TMPDIR"] + "/died", "x").close()
        os.abort()
    if b"FOREVER" in data:
        while True: pass
    if b"MEMORY" in data:
        bytearray(2**40)
    return parse(data, *rest)
rdf.triples = triples
reader_process.main()
"""
STAND_IN = (sys.executable, "-c", DYING)


def request(suffix: str, query: str | None = None) -> ParseRequest:
    columns = ("subject", "relation", "object")
    return ParseRequest(suffix, columns, columns, query, (), ("en",), 2**24, 100_000)


def answering(script: str) -> Isolation:
    """A process that reads nothing that it is given and answers as it likes."""
    return Isolation(60, 2**32, (sys.executable, "-c", script))


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("connectors.files.Isolation", partial(Isolation, command=STAND_IN))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def opened(drop: Path, **settings: Any) -> Connector:
    own = {"kind": "files", "folder": str(drop), "prefixes": {"crm": "https://crm.example/"}}
    return connect("crm", {**own, **settings})


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("ABORT", "ended with signal SIGABRT"),
        ("SEGFAULT", "ended with signal SIGSEGV"),
        ("MEMORY", "ended with exit code 1: MemoryError"),
    ],
)
def test_a_file_that_ends_its_reader_is_put_aside_and_the_others_are_read_at_once(
    drop: Path, word: str, why: str
) -> None:
    (drop / "1.nt").write_text(TRIPLE.format("a") + f"# {word}\n")
    (drop / "2.nt").write_text(TRIPLE.format("b"))
    connector, sink = opened(drop), Sink()
    rejects = [step.reject for step in polled(connector, sink) if step.rejected]
    assert len(rejects) == 1
    assert rejects[0].startswith("crm: 1.nt: ")
    assert why in rejects[0]
    assert sink.slots.keys() == {("crm:b", "crm:owner")}
    (drop / "3.nt").write_text(TRIPLE.format("c"))
    assert not any(step.rejected for step in polled(connector, sink))
    assert sink.slots.keys() == {("crm:b", "crm:owner"), ("crm:c", "crm:owner")}
    assert why in (drop / "rejected" / "1.nt.rejects.jsonl").read_text()
    (drop / "rejected" / "1.nt").rename(drop / "1.nt")
    (drop / "1.nt").write_text(TRIPLE.format("a"))
    polled(connector, sink)
    assert sink.slots.keys() == {(f"crm:{name}", "crm:owner") for name in "abc"}


def test_a_file_that_takes_too_long_is_put_aside_and_not_tried_twice(drop: Path) -> None:
    (drop / "1.nt").write_text(TRIPLE.format("a") + "# FOREVER\n")
    connector, sink = opened(drop, deadline_s=1), Sink()
    (reject,) = (step.reject for step in polled(connector, sink) if step.rejected)
    assert "cannot be read within 1 s; split it, or raise `deadline_s`" in reject
    polled(connector, sink)
    assert (drop / "rejected" / "1.nt").exists()


def test_a_reader_that_was_ended_by_something_else_is_started_once_more(
    drop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (drop / "1.nt").write_text(TRIPLE.format("a") + "# ONCE\n")
    connector, sink = opened(drop), Sink()
    assert not any(step.rejected for step in polled(connector, sink))
    assert (tmp_path / "died").exists()
    assert sink.slots.keys() == {("crm:a", "crm:owner")}


def polled(connector: Connector, sink: Sink) -> list[Poll]:
    """The steps of one poll, committed."""
    steps = []
    for step in connector.poll(sink.cursor):
        sink.commit(step)
        steps.append(step)
    return steps


def test_a_reader_that_never_ends_is_ended() -> None:
    forever = Isolation(0.5, 2**32, (sys.executable, "-c", "import time; time.sleep(600)"))
    with pytest.raises(ReaderDied, match=r"cannot be read within 0\.5 s; split it, or raise `deadline_s`"):
        list(forever.rows(request(".nt"), b"x" * 2**20))


def comparable(rows: Iterator[Numbered]) -> list[tuple[int, object]]:
    return [(number, str(row) if isinstance(row, SourceDataError) else row) for number, row in rows]


def test_rows_are_the_same_in_a_process_of_their_own() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    out, at = BytesIO(), datetime(2024, 5, 1, 12, tzinfo=UTC)
    columns = {
        "subject": [1, 2, None],
        "relation": ["owner", None, "owner"],
        "object": [at, at, None],
    }
    parquet.write_table(pyarrow.table(columns), out)
    turtle = (
        b'@prefix c: <https://crm.example/> . c:a c:owner "Ann"@en, _:n . _:n c:b 1 . c:x c:owner "\\u0000" .'
    )
    query = "SELECT ?subject ?object { ?subject <https://crm.example/owner> ?object }"
    for asked, data in (
        (request(".parquet"), out.getvalue()),
        (request(".nt"), (TRIPLE.format("a") + "broken\n" + TRIPLE.format("b")).encode()),
        (request(".ttl"), turtle),
        (request(".ttl", query), turtle),
    ):
        here = comparable(parsed_rows(asked, data))
        assert comparable(LIMITS.rows(asked, data)) == here != []


def test_what_a_file_lacks_is_said_as_in_one_process() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    out = BytesIO()
    parquet.write_table(pyarrow.table({"who": ["a"]}), out)
    with pytest.raises(SourceDataError, match="has no column object, relation, subject; it has who"):
        list(LIMITS.rows(request(".parquet"), out.getvalue()))
    with pytest.raises(SourceDataError, match="the query is not valid SPARQL"):
        list(LIMITS.rows(request(".nt", "SELECT"), TRIPLE.format("a").encode()))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"[1",
        b"[1]\n",
        b'[-1,["subject","a"]]\n',
        b'[1,["subject"]]\n',
        b'[1,[1,"a"]]\n',
        b'["end",1]\n',
        b'["refused","system","x"]\n',
        b'[1,["subject",{"eval":"1"}]]\n',
        b'[1,["subject",{"term":["uri",1,null,null]}]]\n',
        b'[1,["subject",{"term":["iri","a",null,null]}]]\n',
        b'[1,["subject",{"decimal":"x"}]]\n',
        b'[1,["subject",{}]]\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
)
def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    script = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[data.index(b'\\n') + 1:])"
    )
    with pytest.raises(ReaderDied, match="the process that read it ended with"):
        list(answering(script).rows(request(".nt"), answer))


def test_a_reader_that_ends_before_it_has_read_is_one_that_died() -> None:
    with pytest.raises(ReaderDied, match="ended with exit code 3"):
        list(answering("raise SystemExit(3)").rows(request(".nt"), b"x" * 2**22))


def test_the_process_inherits_no_secret_and_is_ended_with_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_DATABASE__URL", "postgresql://kb:secret@db/kb")
    script = """
import json, os, sys, time
for name in [n for n in os.environ if "KBSYNC" in n] or ["none"]:
    print(json.dumps([os.getpid(), ["subject", name]]), flush=True)
time.sleep(600)
"""
    rows = answering(script).rows(request(".nt"), b"")
    pid, row = next(rows)
    assert row == {"subject": "none"}
    rows.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.lists(st.text()),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.uuids(),
    st.builds(Unusable, st.text()),
    st.builds(
        Term, st.sampled_from(("uri", "literal", "bnode", "unusable")), st.text(), st.none() | st.text()
    ),
)


@editions(quick=100)
def test_a_row_is_the_same_on_both_sides(examples: int) -> None:
    @drawing(examples)
    @given(st.integers(0, 2**40), st.dictionaries(st.text(), CELLS))
    def holds(number: int, row: dict[str, Any]) -> None:
        line = row_lines.row_line(number, row)
        assert line.count(b"\n") == 1
        assert row_lines.numbered(line) == (number, row)

    holds()


def test_a_cell_of_a_type_without_a_form_rejects_its_row() -> None:
    _, row = row_lines.numbered(row_lines.row_line(1, {"object": object()}))
    assert row == {"object": Unusable("a value of type object", "of type object")}


def damaged(whole: bytes, seed: int) -> Iterator[bytes]:
    """The file with bytes replaced, cut out, repeated and cut off."""
    chance = random.Random(seed)
    while True:
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data))
            data[at] = chance.randrange(256)
            if chance.random() < 0.2:
                del data[at : at + chance.randint(1, 30)]
            if chance.random() < 0.2:
                data[at:at] = data[at : at + 20] * chance.randint(1, 50)
        yield bytes(data)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("suffix", [".parquet", ".nt", ".ttl"])
def test_damaged_files_are_read_or_refused(suffix: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    out = BytesIO()
    rows = [f"s{n}" for n in range(2_000)]
    for_all = {
        "subject": rows,
        "relation": ["owner"] * 2_000,
        "object": rows,
        "end": [[name] for name in rows],
    }
    parquet.write_table(pyarrow.table(for_all), out, compression="zstd")
    whole = out.getvalue() if suffix == ".parquet" else TRIPLE.format("a").encode() * 20
    for _, data in zip(range(40), damaged(whole, 1), strict=False):
        refusal = ""
        try:
            list(LIMITS.rows(request(suffix), data))
        except SourceDataError as refused:
            refusal = str(refused)
        assert refusal.isprintable()


def test_the_reader_starts_without_the_rest_of_kbsync() -> None:
    """Started for every file, so it imports neither pydantic nor an HTTP library nor torch."""
    heavy = "{'pydantic', 'httpx', 'torch', 'numpy', 'sqlalchemy', 'pyarrow'}"
    script = f"import sys, connectors.rows.reader_process, connectors.rows.rdf_rows; print({heavy} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*READER[:2], "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
