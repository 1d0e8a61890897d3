"""A drop folder of JSONL, CSV, RDF and Parquet files: kind `files`.

Writers must put complete files there: write elsewhere, or under a name with a leading dot, then rename.
Files are read in the order of their names.  A file is moved to `done/` only after the caller has
committed what was read from it.  The cursor is the proof: a poll that is *given* a cursor naming the
file moves the file.  Rows that cannot be used are listed in `NAME.rejects.jsonl` in the same folder,
with line and reason, and that list moves together with the file.  A file in which nothing can be used is
moved to `rejected/` in the same way, and the files after it are read.  Anything that is not a regular file
(a link, a pipe) is never opened, and is named in a warning and by `check`, as is a file beyond `max_bytes`.
A file that crashes the process that reads it is tried a second time, and then goes to `rejected/` like any
other that cannot be used.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from connectors.border import shown
from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.errors import SourceDataError, SourceUnavailable
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.observations import Health, Observation, Poll, Triple
from connectors.rows.child import ReaderDied
from connectors.rows.drop_folder import DONE, REJECTED, REJECTS, DropFolder, Dropped
from connectors.rows.file_formats import SUFFIXES, FileReader, suffix_of
from connectors.rows.isolation import Isolation
from connectors.rows.mapping import Mapper, MappingSettings, Reject
from connectors.rows.read_log import ReadFile
from connectors.rows.whole_reading import WholeCursor, WholeReading, announced, next_revision, report_rejects
from connectors.settings import Context, SourceSettings, parse
from connectors.terms import Term

_FORMAT = 1
_OURS = (DONE, REJECTED)
_SHOWN_CELL = 500
"""Maximum characters of a cell shown in a list of rejects."""
_SHOWN_REFUSALS = 5
_log = logging.getLogger(__name__)


class FilesSettings(SourceSettings, MappingSettings):
    """One drop folder."""

    kind: Literal["files"]
    folder: Path = Field(description="Folder in which files are dropped")
    complete: bool = Field(False, description="Each file is the complete state: other slots are emptied")
    query: str | None = Field(None, description="RDF files: a SELECT query, as for kind `sparql`")
    languages: tuple[str, ...] = Field(("en", "mul"), description="RDF: languages of labels, best first")
    max_bytes: int = Field(128 * 2**20, ge=1, description="Maximum size of a file, also after decompression")
    deadline_s: float = Field(300.0, gt=0, description="Maximum time for parsing one RDF or Parquet file")
    max_memory: int = Field(
        4 * 2**30, ge=2**28, description="Maximum memory of the process that parses an RDF or Parquet file"
    )
    slots_per_step: int = Field(400, ge=1, description="Slots committed per step")
    max_vanished: float = Field(0.2, ge=0, le=1, description="complete: share of slots that may vanish")


@dataclass(frozen=True, slots=True)
class _Cursor:
    read: Mapping[str, str] = field(default_factory=dict)
    """File name → identity of files that were read to their end."""
    held: str | None = None
    """`complete`: the contents of the last file."""
    revision: int = 0
    """Of the last file; the files that are in `done/` with greater ones were read after a backup was made."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """File name → revision, for the files in `read`.  Cursors of older versions have none."""

    rejected: Mapping[str, str] = field(default_factory=dict)
    """As `read`, for files in which nothing could be used.  Cursors of older versions lack this field."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, {part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, typed(cls), ("read", "held", "revision"))

    @property
    def files(self) -> Iterator[ReadFile]:
        """The files that were read to their end."""
        for name, identity in self.read.items():
            yield ReadFile(name, identity, self.revisions.get(name, self.revision))


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a folder, by name."""

    waiting: list[str]
    refused: Mapping[str, str]
    """File name → why the file is not read."""


class FilesConnector:
    """Kind `files`.  Files are moved away once read, so slots cannot be re-read or queried."""

    def __init__(self, name: str, settings: FilesSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._context = context
        self.folder = context.directory / settings.folder
        namespaces = Namespaces({**WIKIDATA, **settings.prefixes})
        relations = frozenset(map(namespaces.expand, filter(namespaces.knows, context.default_relations)))
        self._reader = FileReader(
            settings.query,
            relations,
            settings.languages,
            settings.max_bytes,
            settings.max_rows,
            Isolation(settings.deadline_s, settings.max_memory),
        )
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)
        self._warned: Mapping[str, str] = {}

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """Read files in the order of their names; a file's last step has the cursor that names the file.

        A file in which nothing can be used is reported as rejected, once, and put aside: it is read again
        only if somebody drops it again, because read by itself after later files it would undo what they
        state.
        """
        where = _Cursor.load(cursor)
        with DropFolder.opened(self.name, self.folder) as folder:
            for file in where.files:
                folder.move_aside(file, self._settings.max_bytes)
            for name, identity in where.rejected.items():
                folder.move_aside(ReadFile(name, identity, 0), self._settings.max_bytes, REJECTED)
            where = _Cursor({}, where.held, where.revision)
            if cursor is not None:
                where = yield from self._read_again(folder, where)
            contents = self._contents(folder)
            self._warn(contents)
            for name in contents.waiting:
                dropped = folder.read(name, self._settings.max_bytes)
                if dropped is None:
                    break  # still being written; the files after it wait
                revision = next_revision(self._context.clock.now(), where.revision)
                where = yield from self._file(dropped, where, revision, folder)

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        return iter(())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return ()

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return ()

    def check(self) -> Health:
        """Report how many files are waiting, and which files are not read and why."""
        try:
            with DropFolder.opened(self.name, self.folder) as folder:
                contents = self._contents(folder)
        except SourceUnavailable as error:
            return Health(False, str(error), lasting=error.lasting)
        detail = f"{len(contents.waiting)} files wait in {self.folder}"
        if contents.refused:
            first = "; ".join(list(contents.refused.values())[:_SHOWN_REFUSALS])
            detail += f"; {len(contents.refused)} are not read: {first}"
        return Health(True, detail)

    def close(self) -> None:
        """Does nothing, since no resource is held open between polls."""

    def _contents(self, folder: DropFolder) -> _Contents:
        visible = [name for name in folder.names() if not name.startswith((".", "~")) and name not in _OURS]
        named = [name for name in visible if suffix_of(name) in SUFFIXES and not name.endswith(REJECTS)]
        refused = folder.refusals(named, self._settings.max_bytes)
        waiting = [name for name in named if name not in refused]
        for name in visible:
            if suffix_of(name) not in SUFFIXES:
                refused[name] = (
                    f"{shown(name)} has none of the supported suffixes {', '.join(sorted(SUFFIXES))}"
                )
        return _Contents(waiting, refused)

    def _warn(self, contents: _Contents) -> None:
        """Warn once for each file, not at every poll."""
        for name in contents.refused.keys() - self._warned.keys():
            _log.warning("%s: not read: %s", self.name, contents.refused[name])
        self._warned = contents.refused

    def _read_again(self, folder: DropFolder, where: _Cursor) -> Generator[Poll, None, _Cursor]:
        """The steps of the files that were read and moved away after the cursor was stored.

        There are such files after a restore from a backup.  They keep their revisions.
        """
        for file, found in folder.read_after(where.revision, self._settings.max_bytes):
            if found is None:
                _log.warning(
                    "%s: %s was read after the backup and is not in %s any more; what it states is missing",
                    self.name,
                    shown(file.name),
                    self.folder / DONE,
                )
                where = _Cursor({}, where.held, file.revision)
                yield Poll((), where.dump())
            else:
                where = yield from self._file(found, where, file.revision, None)
        return where

    def _file(
        self, dropped: Dropped, where: _Cursor, revision: int, waits_in: DropFolder | None
    ) -> Generator[Poll, None, _Cursor]:
        """The steps of one file; returns the cursor after it, which says whether the file has to be moved away."""
        label = f"{self.name}: {shown(dropped.name)[1:-1]}"
        mapper = self._mapper()
        try:
            try:
                self._read_into(mapper, dropped)
            except ReaderDied as error:
                if error.late:
                    raise
                _log.warning("%s: %s; it is read once more", label, error)
                mapper = self._mapper()
                self._read_into(mapper, dropped)
            changed, held = self._changed(mapper, where, revision)
            reject = report_rejects(label, mapper)
        except SourceDataError as error:
            why = str(error).removeprefix(f"{label}: ").removeprefix(f"{self.name}: ")
            return (yield from self._put_aside(dropped, where, revision, waits_in, f"{label}: {why}", mapper))
        after = replace(where, held=held, revision=revision)
        if waits_in is not None:
            waits_in.write_rejects(dropped, _listed(mapper))
            after = replace(
                after,
                read={**where.read, dropped.name: dropped.identity},
                revisions={**where.revisions, dropped.name: revision},
            )
        size = self._settings.slots_per_step
        if self._settings.complete and len(changed) > size:
            about_to_change = announced(WholeCursor.load(where.held), changed, revision)
            begun = revision if waits_in is not None else where.revision  # else it would count as read
            yield Poll((), replace(where, held=about_to_change.dump(), revision=begun).dump())
        while len(changed) > size:
            yield Poll(tuple(changed[:size]), None)
            changed = changed[size:]
        yield Poll(tuple(changed), after.dump(), rejected=mapper.rejected, reject=reject)
        return after

    def _mapper(self) -> Mapper:
        return Mapper(self.name, self._settings, self._settings.languages)

    def _read_into(self, mapper: Mapper, dropped: Dropped) -> None:
        with closing(self._reader.rows(dropped.name, dropped.data, mapper.shape)) as rows:
            mapper.add_all(rows)

    def _put_aside(
        self,
        dropped: Dropped,
        where: _Cursor,
        revision: int,
        waits_in: DropFolder | None,
        why: str,
        mapper: Mapper,
    ) -> Generator[Poll, None, _Cursor]:
        """The step that rejects a whole file; returns the cursor after it.

        A file that is read again after a restore stays in `done/`.
        """
        _log.warning("%s; nothing in the file can be used", why)
        if waits_in is None:
            after, advice = (
                replace(where, revision=revision),
                "correct it, or the settings, and drop it again",
            )
        else:
            waits_in.write_rejects(dropped, [{"reason": why}, *_listed(mapper)])
            after = replace(where, rejected={**where.rejected, dropped.name: dropped.identity})
            advice = f"it goes to {REJECTED}/ with the next reading: correct it, or the settings, and drop it again"
        yield Poll((), after.dump(), rejected=max(1, mapper.rejected), reject=f"{why}; {advice}")
        return after

    def _changed(self, mapper: Mapper, where: _Cursor, revision: int) -> tuple[list[Observation], str | None]:
        """The slots that the file changes and, with `complete`, the resulting state of all slots."""
        now = self._context.clock.now()
        if not self._settings.complete:
            return mapper.observations(revision, now), None
        changed, held = self._whole.compare(mapper, WholeCursor.load(where.held), revision, now)
        return changed, held.dump()


def _listed(mapper: Mapper) -> Iterator[dict[str, object]]:
    """The entries of a file's list of rejects: the first rejects, then the number of the rest."""
    for reject in sorted(mapper.rejects, key=lambda reject: reject.line):
        yield {"line": reject.line, "reason": reject.reason, "row": _cells(reject)}
    if more := mapper.rejected - len(mapper.rejects):
        yield {"reason": f"{more} more rows cannot be used"}


def _cells(reject: Reject) -> dict[str, str] | None:
    if reject.row is None:
        return None
    return {shown(name)[1:-1]: _cell(cell) for name, cell in reject.row.items() if cell is not None}


def _cell(cell: object) -> str:
    value = cell.value if isinstance(cell, Term) else cell
    return value[:_SHOWN_CELL] if isinstance(value, str) else shown(value)


def connect(name: str, settings: Mapping[str, Any], context: Context) -> FilesConnector:
    """The factory of kind `files`.  Raises SourceSettingsError."""
    return FilesConnector(name, parse(FilesSettings, name, settings), context)
