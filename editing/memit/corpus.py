"""Streaming text from files: a seeded sample of their documents, without holding a whole file in memory.

A document is a line of a text file, or a row of a JSONL file, a Parquet file or a Hugging Face dataset
saved to disk (a directory of Arrow files).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from editing.durable import make_directory, open_regular, write_file
from editing.errors import DataError, EditingError
from editing.progress import Progress, silent

SETTLED = 2.0
"""Seconds after which an unchanged modification time means unchanged contents."""

LONGEST = 1 << 18
"""Characters of a document that are read: many more than the statistics need in tokens."""
JSON_LINE = 64 << 20
"""Longest line of a JSON Lines file, in characters."""
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


class Drawn:
    """A sample of a corpus, drawn on first use, with a digest of its texts.

    The digest is stored in `hints` under an identification of the files (path, size, time of change, inode), so
    that an unchanged corpus need not be read again.  A file that changed within the last `SETTLED` seconds is
    always read, since another change might leave its modification time the same.
    """

    def __init__(
        self,
        corpus: Sequence[Path],
        count: int,
        seed: int,
        *,
        field: str,
        hints: Path,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._corpus, self._count, self._seed, self._field = list(corpus), count, seed, field
        self._hints, self._now = hints, now

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts; raises DataError if there are none."""
        texts = draw(self._corpus, self._count, self._seed, field=self._field)
        if not texts:
            raise DataError(
                f"no text in {', '.join(map(str, self._corpus)) or 'an empty corpus'}: name files with text"
            )
        return texts

    def read(self, progress: Progress = silent) -> tuple[str, ...]:
        """The texts; they are already available."""
        return self.texts

    def estimated_tokens(self, limit: int) -> int:
        """Approximate number of tokens, at most `limit` per text, at four characters per token."""
        return sum(min(limit, len(text) // 4 + 1) for text in self.texts)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the texts."""
        before = self._identity()
        hint = self._hints / f"drawn-{before}" if before else None
        if hint is not None and hint.exists():
            return hint.read_text(encoding="ascii")
        digest = hashlib.sha256("\x00".join(self.texts).encode()).hexdigest()
        if hint is not None and self._identity() == before:
            make_directory(self._hints)
            write_file(hint, digest.encode("ascii"))
        return digest

    def _identity(self) -> str | None:
        """What the sample depends on, without reading a text; None if a file changed too recently to tell."""
        parts = [str(self._count), str(self._seed), self._field]
        for path in self._corpus:
            files = sorted(path.rglob("*.arrow")) if path.is_dir() else [path]
            for file in files:
                if not file.exists():
                    return None
                found = file.stat()
                if self._now() - max(found.st_mtime, found.st_ctime) < SETTLED:
                    return None
                at = (
                    f"{file.resolve()} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
                )
                parts.append(at)
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:40]


def documents(corpus: Sequence[Path], *, field: str = "text") -> Iterator[str]:
    """All documents that are not blank, each cut to `LONGEST` characters.

    Raises DataError for a file that cannot be read as text, whatever the cause.
    """
    for path in corpus:
        if not path.exists():
            raise DataError(f"corpus file {path} does not exist: check `corpus` in the settings")
        with _as_data_error(path):
            for document in _of_file(path, field):
                text = _readable(document)
                if text:
                    yield text


@contextmanager
def _as_data_error(path: Path) -> Iterator[None]:
    """Convert a library's error about a damaged or unreadable file into a DataError that names the file."""
    try:
        yield
    except (EditingError, MemoryError):
        raise
    except Exception as error:  # gzip, zlib and pyarrow have errors of many kinds
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:200]
        raise DataError(
            f"{path} cannot be read as text: {reason or type(error).__name__}; copy or download it again"
        ) from error


def _readable(document: str) -> str:
    """The document as passed to a tokenizer: truncated, and without characters that cannot be encoded."""
    text = document[:LONGEST].strip()
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


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
        for line, _ in _lines(path, LONGEST):
            yield line


def _lines(path: Path, limit: int) -> Iterator[tuple[str, bool]]:
    """(a line, cut to `limit` characters; whether it was longer), without holding the whole line in memory."""
    with open_regular(path) as binary:
        source = gzip.GzipFile(fileobj=binary) if path.suffix == ".gz" else binary
        file = io.TextIOWrapper(source, encoding="utf-8-sig", errors="replace")
        while line := file.readline(limit):
            piece, longer = line, False
            while not piece.endswith("\n") and (piece := file.readline(limit)):
                longer = True
            yield line, longer


def _json_lines(path: Path, field: str) -> Iterator[str]:
    for number, (line, cut) in enumerate(_lines(path, JSON_LINE), 1):
        if not line.strip():
            continue
        if cut:
            raise DataError(f"{path}, line {number}: longer than {JSON_LINE >> 20} MiB; one document a line")
        try:
            yield _text(json.loads(line)[field])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not an object with text in a field {field!r} ({error!r:.200}); "
                "name the field in `statistics_field`"
            ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not text")
    return value


def _parquet(path: Path, field: str) -> Iterator[str]:
    parquet = _pyarrow(path, "parquet")
    with _mapped(path) as source:
        file = parquet.ParquetFile(source)
        if field not in file.schema_arrow.names:
            raise DataError(
                f"{path} has no column {field!r}, only {file.schema_arrow.names}: set `statistics_field`"
            )
        for batch in file.iter_batches(batch_size=1024, columns=[field]):
            yield from _column(path, field, batch)


def _arrow(path: Path, field: str) -> Iterator[str]:
    ipc = _pyarrow(path, "ipc")
    with _mapped(path) as source:
        for batch in ipc.open_stream(source):
            if field not in batch.schema.names:
                raise DataError(
                    f"{path} has no column {field!r}, only {batch.schema.names}: set `statistics_field`"
                )
            yield from _column(path, field, batch)


def _mapped(path: Path) -> Any:
    """The file, memory-mapped by pyarrow: a wrong length in it then fails at its end instead of allocating memory."""
    open_regular(path).close()
    return _pyarrow(path, "memory_map")(str(path))


def _column(path: Path, field: str, batch: Any) -> Iterator[str]:
    """The texts of a column of a batch, empty cells left out."""
    batch.validate(full=True)  # offsets come from the file, and pyarrow follows them wherever they lead
    for value in batch.column(field).to_pylist():
        if value is None:
            continue
        if not isinstance(value, str):
            raise DataError(
                f"{path}: the column {field!r} holds {type(value).__name__}, not text: set `statistics_field`"
            )
        yield value


def _pyarrow(path: Path, module: str) -> Any:
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"reading {path} needs pyarrow: pip install 'kbsync[parquet]'") from error
    return getattr(pyarrow, module)
