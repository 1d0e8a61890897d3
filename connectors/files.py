"""A drop folder of JSONL, CSV, RDF and Parquet files: kind `files`.

Writers put a file there whole (write elsewhere or under a name with a leading dot, then rename).
Files are taken in the order of their names.  A file is moved to `done/` only when the caller has
committed what was read of it, and the proof of that is the cursor: the poll that is *given* a cursor
naming the file moves it.  Rows that cannot be used are listed beside the file, in
`NAME.rejects.jsonl`, with their line and the reason, and move along with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from connectors.cursors import dump_cursor, load_cursor
from connectors.errors import SourceUnavailable
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.observations import Health, Observation, Poll, Triple
from connectors.rows.file_formats import SUFFIXES, plain_triples, rows_of, suffix_of
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.whole_reading import Held, WholeReading, announced, next_revision, report_rejects
from connectors.settings import Context, SourceSettings, parse

_REJECTS = ".rejects.jsonl"
_DONE = "done"
_CLAIM = ".claimed-"
_FORMAT = 1


class FilesSettings(SourceSettings, MappingSettings):
    """One drop folder."""

    kind: Literal["files"]
    folder: Path = Field(description="Where files are dropped")
    complete: bool = Field(False, description="Each file is the whole state: what it does not name is gone")
    query: str | None = Field(None, description="RDF files: a SELECT as for kind `sparql`")
    languages: tuple[str, ...] = Field(("en", "mul"), description="RDF: languages of labels, best first")
    slots_per_step: int = Field(400, ge=1, description="Slots committed at once")
    max_vanished: float = Field(0.2, ge=0, le=1, description="complete: share of slots that may vanish")


@dataclass(frozen=True, slots=True)
class _Cursor:
    read: Mapping[str, str] = field(default_factory=dict)
    """File name → digest of files that were read to their end."""
    held: str | None = None
    """`complete`: what the last file held."""
    revision: int = 0

    def dump(self) -> str:
        return dump_cursor(_FORMAT, {"read": dict(self.read), "held": self.held, "revision": self.revision})

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, cls, (part.name for part in fields(cls)))


class FilesConnector:
    """Kind `files`.  Files are gone once read, so nothing can be re-read and there is no one to ask."""

    def __init__(self, name: str, settings: FilesSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._context = context
        self._folder = context.directory / settings.folder
        namespaces = Namespaces({**WIKIDATA, **settings.prefixes})
        self._query = settings.query or plain_triples(namespaces, context.default_relations)
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """Files in the order of their names; the last step of each carries the cursor that names it.

        Raises SourceDataError for a file of which nothing can be used: it stays, and those after it
        wait, because a mended file that came after them would undo what they said.
        """
        where = _Cursor.load(cursor)
        try:
            for name, digest in where.read.items():
                self._move_aside(name, digest)
            where = _Cursor({}, where.held, where.revision)
            for path in self._waiting():
                data = _read_whole(path)
                if data is None:
                    return  # still being written; those after it wait for it
                where = yield from self._file(path, data, where)
        except OSError as error:
            raise SourceUnavailable(f"{self.name}: {error}") from error

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        return iter(())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return ()

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return ()

    def check(self) -> Health:
        try:
            waiting = self._waiting()
        except (OSError, SourceUnavailable) as error:
            return Health(False, str(error))
        return Health(True, f"{len(waiting)} files wait in {self._folder}")

    def close(self) -> None:
        """Nothing is held open between polls."""

    def _waiting(self) -> list[Path]:
        if not self._folder.is_dir():
            raise SourceUnavailable(f"{self.name}: there is no folder {self._folder}")
        return sorted(
            path
            for path in self._folder.iterdir()
            if path.is_file()
            and not path.name.startswith((".", "~"))
            and not path.name.endswith(_REJECTS)
            and suffix_of(path.name) in SUFFIXES
        )

    def _file(self, path: Path, data: bytes, where: _Cursor) -> Generator[Poll, None, _Cursor]:
        """The steps of one file; returns the cursor after it."""
        mapper = Mapper(self.name, self._settings, self._settings.languages)
        mapper.add_all(rows_of(path, data, self._query))
        now = self._context.clock.now()
        revision = next_revision(now, where.revision)
        changed, held = self._changed(mapper, where, revision)
        self._list_rejects(path, mapper)
        report_rejects(f"{self.name}: {path.name}", mapper)
        after = _Cursor({**where.read, path.name: _digest(data)}, held, revision)
        size = self._settings.slots_per_step
        if self._settings.complete and len(changed) > size:
            told = announced(Held.load(where.held), changed, revision)
            yield Poll((), _Cursor(where.read, told.dump(), revision).dump())
        while len(changed) > size:
            yield Poll(tuple(changed[:size]), None)
            changed = changed[size:]
        yield Poll(tuple(changed), after.dump())
        return after

    def _changed(self, mapper: Mapper, where: _Cursor, revision: int) -> tuple[list[Observation], str | None]:
        """What the file says, and with `complete` what is therefore held now."""
        now = self._context.clock.now()
        if not self._settings.complete:
            return mapper.observations(revision, now), None
        changed, held = self._whole.compare(mapper, Held.load(where.held), revision, now)
        return changed, held.dump()

    def _list_rejects(self, path: Path, mapper: Mapper) -> None:
        beside = path.with_name(path.name + _REJECTS)
        if not mapper.rejects:
            beside.unlink(missing_ok=True)
            return
        temporary = beside.with_name(f".{beside.name}")
        with temporary.open("w", encoding="utf-8") as file:
            for reject in sorted(mapper.rejects, key=lambda reject: reject.line):
                told = {"line": reject.line, "reason": reject.reason, "row": reject.row}
                file.write(json.dumps(told, default=str, ensure_ascii=False) + "\n")
        temporary.replace(beside)

    def _move_aside(self, name: str, digest: str) -> None:
        """Into `done/`, if it is still the file that was read.

        It is claimed by renaming before it is compared: a writer may replace it at any moment.
        """
        path, done = self._folder / name, self._folder / _DONE
        claim = done / f"{_CLAIM}{name}"
        if not claim.exists():
            if not path.exists():
                return
            done.mkdir(exist_ok=True)
            path.rename(claim)
        if _digest(claim.read_bytes()) != digest:
            claim.rename(path if not path.exists() else path.with_name(f"{digest[:8]}-{name}"))
            return
        rejects = path.with_name(name + _REJECTS)
        target = _free_name(done, name, digest)
        if rejects.exists():
            rejects.rename(target.with_name(target.name + _REJECTS))
        claim.rename(target)


def _free_name(folder: Path, name: str, digest: str) -> Path:
    """A name that no file in the folder has: files of one name come day after day."""
    if not (folder / name).exists():
        return folder / name
    number = 1
    while (taken := folder / f"{digest[:8]}-{number}-{name}").exists():
        number += 1
    return taken


def _read_whole(path: Path) -> bytes | None:
    """The file's bytes; None if it changed while it was read."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        data = file.read()
        after = os.fstat(file.fileno())
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return data if same and len(data) == after.st_size else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def connect(name: str, settings: Mapping[str, Any], context: Context) -> FilesConnector:
    """The factory of kind `files`.  Raises SourceSettingsError."""
    return FilesConnector(name, parse(FilesSettings, name, settings), context)
