"""Text for the statistics: files of any kind and in any state give documents, or a DataError that names the file."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import DataError
from editing.memit import corpus
from editing.memit.corpus import documents
from tests.support.properties import drawing, editions
from tests.support.zoo import TEXT


def write(directory: Path) -> list[Path]:
    """The same text as every kind of file."""
    table = pyarrow.table({"text": list(TEXT)})
    lines = "\n".join(json.dumps({"text": text}) for text in TEXT)
    (directory / "a.txt").write_text("\n\n".join(TEXT), encoding="utf-8")
    (directory / "b.jsonl").write_text(lines, encoding="utf-8")
    (directory / "c.txt.gz").write_bytes(gzip.compress("\n".join(TEXT).encode()))
    (directory / "d.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pyarrow.parquet.write_table(table, directory / "e.parquet")
    (directory / "saved").mkdir()
    with pyarrow.ipc.new_stream(directory / "saved" / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)
    return [directory / name for name in ("a.txt", "b.jsonl", "c.txt.gz", "d.jsonl.gz", "e.parquet", "saved")]


def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path) -> None:
    for path in write(tmp_path):
        assert tuple(documents([path])) == TEXT, path.name


@editions(quick=60)
def test_a_damaged_file_gives_documents_or_says_which_file_it_is(
    examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = write(tmp_path_factory.mktemp("whole"))
    contents = [(path / "data-0.arrow" if path.is_dir() else path).read_bytes() for path in whole]
    scratch = tmp_path_factory.mktemp("damaged")

    @drawing(examples)
    @given(kind=st.integers(0, len(whole) - 1), seed=st.integers(0, 2**32 - 1))
    def holds(kind: int, seed: int) -> None:
        draw, content = random.Random(seed), bytearray(contents[kind])
        for _ in range(draw.choice([1, 3, 20])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        path = scratch / f"damaged{''.join(whole[kind].suffixes)}"
        if whole[kind].is_dir():
            path.mkdir(exist_ok=True)
        (path / "x.arrow" if whole[kind].is_dir() else path).write_bytes(content)
        try:
            texts = list(documents([path]))
        except DataError as error:
            texts = [str(error)]
            named = str(path) in texts[0]
        else:
            named = True
        assert named
        assert all(text.encode("utf-8") for text in texts)

    holds()


@pytest.mark.parametrize(
    "line",
    [
        '{"text": 7}',
        '{"text": null}',
        '{"text": ["a"]}',
        '{"body": "a"}',
        "[1]",
        "7",
        '{"text": ' * 100_000,
        '{"text": ' + "9" * 5_000 + "}",
    ],
    ids=lambda line: line[:20],
)
def test_a_row_without_text_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "first"}\n\n' + line + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl, line 3: not an object with text in a field 'text'"):
        list(documents([path]))


def test_a_column_of_something_else_is_no_text(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"bytes", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="holds bytes, not text"):
        list(documents([tmp_path / "a.parquet"]))


def test_characters_that_cannot_be_encoded_do_not_reach_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one \\ud800 two"}\n')
    (tmp_path / "b.txt").write_bytes(b"three \xff four\n")
    found = list(documents([tmp_path / "a.jsonl", tmp_path / "b.txt"]))
    assert found == ["one ? two", "three \ufffd four"]


def test_a_line_without_an_end_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LONGEST", 10)
    monkeypatch.setattr(corpus, "JSON_LINE", 40)
    (tmp_path / "a.txt").write_text("0123456789" * 1000 + "\nshort\n" + "x" * 25)
    assert list(documents([tmp_path / "a.txt"])) == ["0123456789", "short", "x" * 10]
    (tmp_path / "b.jsonl").write_text('{"text": "short"}\n{"text": "' + "a" * 100 + '"}\n')
    with pytest.raises(DataError, match="line 2: longer than"):
        list(documents([tmp_path / "b.jsonl"]))


def test_a_pipe_is_no_corpus_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe cannot be read as text: it is not a regular file"):
        list(documents([tmp_path / "pipe"]))
