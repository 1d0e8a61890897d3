"""Ordinary text from files, streamed: a seeded sample of their documents, never a whole file in memory.

A document is a line of a text file, a row of a JSONL or Parquet file, or of a Hugging Face dataset
saved to disk (a directory of Arrow files).
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from editing.errors import DataError

JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz")


def draw(corpus: Sequence[Path], count: int, seed: int, *, field: str = "text") -> tuple[str, ...]:
    """`count` documents (or all, if there are fewer) of `corpus`, drawn without replacement, in order.

    Reads the corpus twice: to count, and to pick.
    """
    total = sum(1 for _ in documents(corpus, field=field))
    if total <= count:
        return tuple(documents(corpus, field=field))
    chosen = set(random.Random(seed).sample(range(total), count))
    return tuple(text for index, text in enumerate(documents(corpus, field=field)) if index in chosen)


def documents(corpus: Sequence[Path], *, field: str = "text") -> Iterator[str]:
    """All documents with something in them; raises DataError for a file that cannot be read as text."""
    for path in corpus:
        if not path.exists():
            raise DataError(f"corpus file {path} does not exist: check `corpus` in the settings")
        for document in _of_file(path, field):
            text = document.strip()
            if text:
                yield text


def _of_file(path: Path, field: str) -> Iterator[str]:
    if path.is_dir():
        files = sorted(path.rglob("*.arrow"))
        if not files:
            raise DataError(
                f"{path} is a directory without Arrow files: name a dataset saved with save_to_disk"
            )
        for file in files:
            yield from _arrow(file, field)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path, field)
    elif path.name.endswith(JSON_LINES):
        yield from _json_lines(path, field)
    else:
        with _opened(path) as lines:
            yield from lines


def _opened(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _json_lines(path: Path, field: str) -> Iterator[str]:
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield str(json.loads(line)[field])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: not an object with a field {field!r} ({error!r}); "
                    "name the field in `statistics_field`"
                ) from error


def _parquet(path: Path, field: str) -> Iterator[str]:
    parquet = _pyarrow(path, "parquet")
    file = parquet.ParquetFile(path)
    if field not in file.schema_arrow.names:
        raise DataError(
            f"{path} has no column {field!r}, only {file.schema_arrow.names}: set `statistics_field`"
        )
    for batch in file.iter_batches(batch_size=1024, columns=[field]):
        yield from (text for text in batch.column(0).to_pylist() if text)


def _arrow(path: Path, field: str) -> Iterator[str]:
    ipc = _pyarrow(path, "ipc")
    with path.open("rb") as file:
        for batch in ipc.open_stream(file):
            if field not in batch.schema.names:
                raise DataError(
                    f"{path} has no column {field!r}, only {batch.schema.names}: set `statistics_field`"
                )
            yield from (text for text in batch.column(field).to_pylist() if text)


def _pyarrow(path: Path, module: str) -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"reading {path} needs pyarrow: pip install 'kbsync[parquet]'") from error
    return getattr(pyarrow, module)
