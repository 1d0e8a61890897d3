"""Files of every format: a bad line costs itself, and no file costs more than its bounds."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyoxigraph as ox
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import rdf
from connectors.errors import SourceDataError
from connectors.rows.file_formats import SUFFIXES, FileReader
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.rdf_rows import RDFS_LABEL
from tests.support.paths import REPOSITORY
from tests.support.properties import SCALARS, drawing, editions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PREFIXES = {"crm": "https://crm.example/"}
HEADER = b"subject,relation,object\n"
GOOD = '<https://crm.example/{}> <https://crm.example/owner> "{}" .\n'


def read(name: str, data: bytes, query: str | None = None, **settings: Any) -> Mapper:
    """Everything in the file, mapped."""
    mapping = {"namespace": "crm", "prefixes": PREFIXES, **settings}
    max_bytes = mapping.pop("max_bytes", 2**24)
    mapper = Mapper("crm", MappingSettings(**mapping), ("en",))
    reader = FileReader(query, (), ("en",), max_bytes, mapper.max_rows)
    return mapper.add_all(reader.rows(name, data, mapper.shape))


def values(mapper: Mapper) -> dict[str, list[str]]:
    return {
        o.subject.id: [s.object.id for s in o.statements if s.object] for o in mapper.observations(1, NOW)
    }


def parquet(columns: dict[str, Any]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'x,owner,"Ann" Smith\n', "not valid CSV: ',' expected after '\"'"),
        (b'x,owner,"never closed\n', "not valid CSV: ',' expected after"),
        (b"x,owner,M\xfcller\n", "not UTF-8 at byte 46"),
        (b"x,owner\n", "2 cells under a header of 3"),
        (b"x,owner," + b"y" * 140_000 + b"\n", "field larger than field limit"),
        (b"x,owner,a\0b\n", "object holds NUL"),
        (b"x\x1b,owner,a\n", "an id contains a control character"),
    ],
)
def test_a_bad_line_of_csv_costs_itself(line: bytes, reason: str) -> None:
    mapper = read("day.csv", HEADER + b"a,owner,Ann\n\n" + line + b'b,owner,"Bob\nLee"\nc,owner,Cy\n')
    assert values(mapper) == {"crm:a": ["lit:Ann"], "crm:b": ["lit:Bob\nLee"], "crm:c": ["lit:Cy"]}
    (reject,) = mapper.rejects
    assert reject.line == 4
    assert reason in reject.reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"subject,relation,object,object\n", "the header names 'object' twice"),
        (b"subject, relation,object,relation \n", "the header names 'relation' twice"),
        (b"who,what\n", "has no column object, relation, subject; it has who, what. The setting `columns`"),
        (b"subject;relation;object\n", "separated by commas in CSV, not by ';'"),
        (b"subject,relation,obj\xe9ct\n", "the header cannot be read: not UTF-8 at byte 20"),
        *(
            ("subject,relation,object\n".encode(coding), "is text in UTF-16 or UTF-32; save it as UTF-8")
            for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
        ),
    ],
)
def test_a_header_that_is_wrong_is_refused_with_advice(header: bytes, reason: str) -> None:
    with pytest.raises(SourceDataError) as refused:
        read("day.csv", header + b"a,owner,Ann,x\n")
    assert reason in str(refused.value)


def test_csv_of_every_line_ending_and_with_unnamed_columns_is_read() -> None:
    for ending in ("\n", "\r\n", "\r"):
        text = ending.join(["\ufeffsubject,relation,object,,", "a,owner,Ann,,", "b,owner,Bob,,"])
        assert values(read("a.csv", text.encode())) == {"crm:a": ["lit:Ann"], "crm:b": ["lit:Bob"]}


def test_lines_may_end_in_different_ways_in_one_file() -> None:
    text = b'subject,relation,object\ra,owner,Ann\r\nb,owner,"Bob\nLee"\rc,owner,Cy\n'
    mapper = read("a.csv", text)
    assert values(mapper) == {"crm:a": ["lit:Ann"], "crm:b": ["lit:Bob\nLee"], "crm:c": ["lit:Cy"]}
    assert mapper.rejected == 0
    lines = [b'{"subject":"%s","relation":"owner","object":"Ann"}' % name for name in (b"a", b"b", b"c")]
    assert len(values(read("a.jsonl", lines[0] + b"\r" + lines[1] + b"\r\n" + lines[2]))) == 3


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_another_coding_is_named(coding: str) -> None:
    with pytest.raises(SourceDataError, match="is text in UTF-16 or UTF-32; save it as UTF-8"):
        read("a.jsonl", '{"subject":"a","relation":"owner","object":"Ann"}\n'.encode(coding))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 100_000, "nested deeper than 32 levels"),
        (b'{"subject":"x","relation":"owner","object":"a","object":"b"}', "names 'object' twice"),
        (b'{"subject":"x","relation":"owner","object":"\\ud800"}', "object holds a lone surrogate"),
        (b'{"subject":"x","relation":"owner","object":NaN}', "object is NaN (no number)"),
        (b'{"subject":"x","relation":"owner","object":1e999}', "not a finite number"),
        (b'{"subject":"x","relation":"owner","object":%s}' % (b"7" * 5_000), "a number of 5000 digits"),
        (b'{"subject":9007199254740993.0,"relation":"owner","object":1}', "has more digits than"),
        (b'{"subject":0.123456789012345678901,"relation":"owner","object":1}', "has more digits than"),
        (b'{"subject":"x","relation":"owner","object":1e-400}', "object is 1e-400, which"),
        (b'{"subject":"x","relation":"owner","object":true}', "object is True (of type bool)"),
        (b'{"subject":"x","relation":"owner","object":"\xff"}', "the line: not UTF-8 at byte 44"),
        (b'{"subject":"x","relation":"owner"}', "has no column object; it has subject, relation"),
        (b'{"a":"' + b"x" * 2**20 + b'"}', "bytes of JSON; at most 1048576"),
        (b'"x"', "not a JSON object"),
    ],
)
@pytest.mark.parametrize("name", ["day.jsonl", "day.ndjson", "DAY.JSONL"])
def test_a_bad_line_of_json_costs_itself(name: str, line: bytes, reason: str) -> None:
    good = [{"subject": n, "relation": "owner", "object": float(n)} for n in (1, 2)]
    first, second = (json.dumps(row).encode() for row in good)
    mapper = read(name, b"\n".join([first, line, second]))
    assert values(mapper) == {"crm:1": ["lit:1"], "crm:2": ["lit:2"]}
    assert [reject.line for reject in mapper.rejects] == [2]
    assert reason in mapper.rejects[0].reason


def test_a_bad_line_of_ntriples_costs_itself() -> None:
    bad = '<https://crm.example/x <https://crm.example/owner> "y" .\n'
    mapper = read("a.nt", (GOOD.format("a", "Ann") + bad + GOOD.format("b", "Bob")).encode())
    assert values(mapper) == {"crm:a": ["lit:Ann"], "crm:b": ["lit:Bob"]}
    assert [(reject.line, reject.reason[:20]) for reject in mapper.rejects] == [(2, "not valid N-Triples:")]
    with pytest.raises(SourceDataError, match="more than 1000 lines do not parse"):
        read("a.nt", bad.encode() * 1_001)
    query = "SELECT ?subject ?relation ?object { ?subject ?relation ?object }"
    mapper = read("a.nt", (GOOD.format("a", "Ann") + bad).encode(), query)
    assert (values(mapper), mapper.rejected) == ({"crm:a": ["lit:Ann"]}, 1)


@pytest.mark.parametrize("name", ["a.nt", "a.ttl"])
def test_triples_nested_without_end_are_refused_before_they_are_parsed(name: str) -> None:
    opening = b"<https://crm.example/a> <https://crm.example/p> <<( "
    deep = opening * 200_000 + b'"1"' + b" )>>" * 200_000 + b" ."
    with pytest.raises(SourceDataError, match="triple terms nested over 100 levels deep"):
        read(name, deep)


def test_labels_are_read_in_the_languages_in_time_that_grows_with_the_file() -> None:
    tags = ["en", *(f"{first}{second}" for first in "qrstuvwxyz" for second in "abcdfghijk")]

    def file() -> bytes:
        triples = []
        for n in range(5):
            triples.append(
                f"<https://crm.example/{n}> <https://crm.example/owner> <https://crm.example/{n}o> ."
            )
            for node in (f"{n}", f"{n}o"):
                for tag in tags:
                    label = f'"{node} in {tag}"@{tag}'
                    triples.append(f"<https://crm.example/{node}> <{RDFS_LABEL}> {label} .")
        return "\n".join(reversed(triples)).encode()

    passes: list[int] = []
    counted = rdf.triples

    def count(data: bytes, format: ox.RdfFormat, base: str | None = None) -> rdf.Triples:
        for found in counted(data, format, base):
            passes.append(1)
            yield found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rdf, "triples", count)
        mapper = read("a.nt", file())
    found = {o.subject.label: o.statements[0].object for o in mapper.observations(1, NOW)}
    assert {label: entity and entity.label for label, entity in found.items()} == {
        f"{n} in en": f"{n}o in en" for n in range(5)
    }
    assert mapper.rows == 5
    assert len(passes) == 2 * (5 + 5 * 2 * 101)


def test_an_entity_without_a_label_in_the_languages_has_none() -> None:
    turtle = """@prefix crm: <https://crm.example/> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
    crm:a crm:owner crm:b ; rdfs:label "A"@en-GB, "Ä"@de . crm:b rdfs:label "Be"@de ."""
    (observation,) = read("a.ttl", turtle.encode()).observations(1, NOW)
    assert observation.subject.label == "A"
    assert [s.object and (s.object.id, s.object.label) for s in observation.statements] == [("crm:b", None)]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_compressed_file_unpacks_no_further_than_allowed(suffix: str) -> None:
    bomb = gzip.compress(b"\n" * 2**26)
    with pytest.raises(SourceDataError, match=f"unpacks to more than {2**20} bytes"):
        read(f"a{suffix}.gz", bomb, max_bytes=2**20)
    with pytest.raises(SourceDataError, match="not a complete gzip file"):
        read(f"a{suffix}.GZ", gzip.compress(b"\n" * 999)[:-9])


def test_no_file_has_more_rows_than_allowed() -> None:
    for name, data in (
        ("a.csv", HEADER + b"a,owner,Ann\n" * 11),
        ("a.jsonl", b'{"subject":"a","relation":"owner","object":"Ann"}\n' * 11),
        ("a.nt", GOOD.format("a", "Ann").encode() * 11),
        ("a.parquet", parquet({"subject": ["a"] * 11, "relation": ["r"] * 11, "object": ["o"] * 11})),
    ):
        with pytest.raises(SourceDataError, match="more than 10 "):
            read(name, data, max_rows=10)


def test_parquet_cells_of_every_type_are_read_or_rejected_by_themselves() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    subjects = pyarrow.array([str(n).encode() for n in range(6)], pyarrow.binary())
    cells = {
        "object": pyarrow.array([b"Anna", b"\xff", b"Cy", b"Di", b"Ed", b"Flo"], pyarrow.binary()),
        "start": pyarrow.array([0, 1, 2**62, 1_500, 4, 5], pyarrow.timestamp("ns")),
        "end": pyarrow.array([10**12, 1, 2, -(10**14), 4, 10**15], pyarrow.timestamp("s")),
        "references": pyarrow.array([1.0, 1.0, 1.0, 1.0, float("nan"), 1.0], pyarrow.float32()),
    }
    mapper = read("a.parquet", parquet({"subject": subjects, **cells}), relation="crm:owner")
    found = mapper.observations(1, NOW)
    assert {o.subject.id: o.statements[0].object.id for o in found if o.statements[0].object} == {
        "crm:2": "lit:Cy"
    }
    assert found[0].statements[0].start is not None
    assert "2116-02-20" in str(found[0].statements[0].start)
    assert {reject.line: reject.reason for reject in mapper.rejects} == {
        1: "end is a timestamp[us] that is outside the calendar (no number), not a string or a number",
        2: "object is 1 bytes that are not UTF-8 text",
        4: "end is a timestamp[us] that is outside the calendar (no number), not a string or a number",
        5: "references is nan (of type float), not a string or a number",
        6: "end is a timestamp[us] that is outside the calendar (no number), not a string or a number",
    }


def test_parquet_that_repeats_a_long_text_costs_no_memory_for_each_repetition() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    texts = pyarrow.DictionaryArray.from_arrays([0] * 20_000 + [1], ["x" * 2**20, "fine"])
    subjects = [f"s{n}" for n in range(20_001)]
    data = parquet({"subject": subjects, "object": texts})
    assert len(data) < 2**20
    mapper = read("a.parquet", data, relation="crm:owner")
    assert values(mapper) == {"crm:s20000": ["lit:fine"]}
    assert "object is a text of 1048576 bytes" in mapper.rejects[0].reason
    with pytest.raises(SourceDataError, match="bytes of data; at most 1000 are read"):
        read("a.parquet", data, relation="crm:owner", max_bytes=1_000)


def test_parquet_columns_that_nobody_asked_for_are_not_read() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    deep: Any = pyarrow.array([1])
    for _ in range(50):
        deep = pyarrow.StructArray.from_arrays([deep], ["x"])
    mapper = read("a.parquet", parquet({"subject": ["a"], "object": ["Ann"], "rest": deep}), relation="crm:r")
    assert values(mapper) == {"crm:a": ["lit:Ann"]}
    mapper = read("a.parquet", parquet({"subject": ["a"], "object": deep}), relation="crm:r")
    assert "object is a value of type StructType" in mapper.rejects[0].reason


def test_parquet_lists_of_texts_are_other_names() -> None:
    names = {"subject": ["a"], "object": ["crm:x"], "object_aliases": [["Max", "Maxi"]]}
    (observation,) = read("a.parquet", parquet(names), relation="crm:r").observations(1, NOW)
    assert observation.statements[0].object is not None
    assert observation.statements[0].object.aliases == ("Max", "Maxi")


def csv_line(draw: Any) -> bytes:
    return b"".join(draw(st.lists(st.sampled_from([b",", b'"', b"\r", b"\\", b"a", b"\xff", b"\0", b";"]))))


NASTY: dict[str, st.SearchStrategy[bytes]] = {
    ".csv": st.composite(csv_line)() | st.binary(),
    ".jsonl": st.recursive(
        SCALARS.filter(lambda value: isinstance(value, str | int | float | None)),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["subject", "object", "end"]), inner),
    ).map(lambda value: json.dumps(value).encode())
    | st.binary(),
    ".nt": st.lists(
        st.sampled_from(
            [b"<https://crm.example/x> ", b'"y" ', b"_:b ", b".", b"<<( ", b")>> ", b"\\u0000", b"<"]
        )
        | st.binary(max_size=5)
    ).map(b"".join),
}
ROW_OF: dict[str, Callable[[str], bytes]] = {
    ".csv": lambda name: f"{name},owner,Ann\n".encode(),
    ".jsonl": lambda name: b'{"subject":"%s","relation":"owner","object":"Ann"}\n' % name.encode(),
    ".nt": lambda name: GOOD.format(name, "Ann").encode(),
}


@editions(quick=100)
@pytest.mark.parametrize("suffix", sorted(NASTY))
def test_good_rows_arrive_whatever_line_stands_between_them(suffix: str, examples: int) -> None:
    @drawing(examples)
    @given(st.lists(NASTY[suffix].map(lambda line: line.replace(b"\n", b" ")), max_size=4))
    def holds(lines: list[bytes]) -> None:
        row, between = ROW_OF[suffix], b"".join(line + b"\n" for line in lines)
        data = (HEADER if suffix == ".csv" else b"") + row("good1") + between + row("good2")
        mapper = read(f"a{suffix}", data)
        found = values(mapper)
        assert found["crm:good1"] == found["crm:good2"] == ["lit:Ann"]
        assert mapper.rejected <= len(lines) + data.count(b"\r")
        assert all(reject.reason.isprintable() for reject in mapper.rejects)

    holds()


@editions(quick=100)
@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_only_declared_errors_leave_a_file_of_any_bytes(suffix: str, examples: int) -> None:
    whole = parquet({"subject": ["a", "b"], "relation": ["owner"] * 2, "object": ["Ann", "Bob"]})
    turtle = b'@prefix c: <https://crm.example/> . c:a c:owner "Ann", [ c:b ( 1 2.0 ) ] .'

    @drawing(examples)
    @given(st.binary(), st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=3), st.booleans())
    def holds(data: bytes, at: int, patch: bytes, packed: bool) -> None:
        base = whole if suffix == ".parquet" else turtle
        at %= len(base)
        for content in (data, base[:at] + patch + base[at + len(patch) :]):
            name, content = (f"a{suffix}.gz", gzip.compress(content)) if packed else (f"a{suffix}", content)
            try:
                values(read(name, content))
            except SourceDataError as refused:
                message = str(refused)
                message.encode()

    holds()


@pytest.mark.slow
def test_reading_files_needs_no_more_memory_than_their_bounds() -> None:
    """In a process of its own, whose memory is limited: half a million rows, and a bomb."""
    script = """
import gzip, resource
from connectors.errors import SourceDataError
from tests.connectors.rows import test_file_formats as here
rows = b"".join(b"s%d,owner,Ann\\n" % n for n in range(500_000))
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)
assert len(here.values(here.read("a.csv.gz", gzip.compress(here.HEADER + rows)))) == 500_000
for suffix in here.SUFFIXES - {".parquet"}:
    try:
        here.read("a" + suffix, b"[[[[[[[[[[[[[[,\\"<" * 2**20)
    except SourceDataError:
        pass
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
