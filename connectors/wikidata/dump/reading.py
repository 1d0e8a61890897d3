"""The two passes over a dump: the statements of the watched entities, then the labels of what these name.

The second pass is needed because an entity's line names the objects of its statements by id only, and an object's own
line may stand anywhere.  Both passes are streamed; what they keep in memory does not grow with the dump.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.errors import SourceDataError
from connectors.observations import Observation, Poll
from connectors.wikidata.dump.entities import Document, EntityShape, id_of
from connectors.wikidata.dump.file import DumpFile, EntityLine
from connectors.wikidata.passes import observations
from connectors.wikidata.reader import SubjectState
from connectors.wikidata.rows import Subject, statements_of
from connectors.wikidata.vocabulary import Vocabulary

_FORMAT = 1
_SLOTS, _LABELS, _LINES = 1_000, 2_000, 200_000
"""A step ends after this many slots or labels, or after this many lines without any."""
_TAIL = 400
"""Bytes at the end of a line in which dumps have the date of the last change."""
_MODIFIED = re.compile(rb'"modified":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z)"')
Stage = Literal["statements", "labels", "admission", "done"]
"""The two passes over the file; then what the caller does with what was read."""


@dataclass(frozen=True, slots=True)
class DumpPlace:
    """How far the reading of one dump for one watch list has come."""

    of: str
    """What is read: the dump's identity, and a digest of what is watched."""
    stage: Stage = "statements"
    after: int = 0
    """How much of this stage is done: bytes of the uncompressed file, or a position among the slots read."""
    lines: int = 0
    """Entities passed in the first stage."""
    kept: int = 0
    """Entities of the watch list among them."""
    latest: str = ""
    """The latest date of a change that any entity has, in ISO 8601: the dump is not older than this."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> DumpPlace:
        """Raises SourceDataError for a text that no `dump` has written."""
        return load_cursor(text, _FORMAT, typed(cls), (part.name for part in dataclasses.fields(cls)))


@dataclass(frozen=True, slots=True)
class DumpStep:
    """What one step found, and the place after it; both belong in one transaction."""

    poll: Poll
    place: DumpPlace


@dataclass(frozen=True, slots=True)
class DumpScope:
    """What of a dump is wanted."""

    relations: Sequence[str]
    languages: Sequence[str]
    watched: frozenset[str] | None
    """Subjects as CURIEs; None: every entity with one of the relations."""

    def identity(self) -> str:
        """A digest of all of it: with another one, the same dump has to be read again."""
        digest = hashlib.sha256(repr((sorted(self.relations), list(self.languages))).encode())
        for id in sorted(self.watched or ()):
            digest.update(id.encode() + b"\0")
        return digest.hexdigest()[:16] if self.watched is not None else f"{digest.hexdigest()[:15]}*"


@dataclass
class _Found:
    observations: list[Observation] = field(default_factory=list)
    labels: dict[str, Subject] = field(default_factory=dict)
    lines: int = 0
    kept: int = 0
    latest: str = ""
    rejected: int = 0
    reject: str = ""


Report = Callable[[float], None]
"""Called with the share of the file that this pass has read."""


class Dump:
    """A dump, and what of it a source named `source` is to know."""

    def __init__(
        self,
        source: str,
        file: DumpFile,
        vocabulary: Vocabulary,
        shape: EntityShape,
        scope: DumpScope,
        now: Callable[[], datetime],
    ) -> None:
        self.source, self.file, self.scope = source, file, scope
        self._vocabulary, self._shape, self._now = vocabulary, shape, now
        self._pids = {relation: vocabulary.property_id(relation) for relation in scope.relations}

    def statements(self, place: DumpPlace, report: Report) -> Iterator[DumpStep]:
        """The slots of watched entities that hold something, from `place` on; the last step begins the next stage.

        Raises SourceDataError for a damaged or incomplete file; the steps before it are valid.
        """
        found = _Found()
        for line in self.file.lines(place.after, report):
            found.lines += 1
            found.kept += self._is_watched(line) and self._observe(line, found)
            if (modified := _MODIFIED.search(line.text, max(0, len(line.text) - _TAIL))) is not None:
                found.latest = max(found.latest, modified[1].decode())
            if len(found.observations) >= _SLOTS or found.lines >= _LINES:
                place = _counted(place, found, after=line.after)
                yield DumpStep(_poll(found), place)
                found = _Found()
        place = _counted(place, found, after=0)
        yield DumpStep(_poll(found), dataclasses.replace(place, stage="labels"))

    def labels(self, ids: Collection[str], place: DumpPlace, report: Report) -> Iterator[DumpStep]:
        """The labels and aliases of the entities `ids`, from `place` on; the last step ends the reading of the file.

        Raises SourceDataError as `statements` does.
        """
        found = _Found()
        for line in self.file.lines(place.after, report):
            found.lines += 1
            id = id_of(line.text)
            if id is None or self._shape.curie(id) in ids:
                self._describe(line, ids, found)
            if len(found.labels) >= _LABELS or found.lines >= _LINES:
                yield DumpStep(self._named(found), dataclasses.replace(place, after=line.after))
                found = _Found()
        yield DumpStep(self._named(found), dataclasses.replace(place, stage="admission", after=0))

    def _is_watched(self, line: EntityLine) -> bool:
        watched = self.scope.watched
        if watched is None:
            return True
        id = id_of(line.text)
        return id is None or self._shape.curie(id) in watched

    def _observe(self, line: EntityLine, found: _Found) -> bool:
        """Add what the line states; whether its entity is watched and could be read."""
        try:
            document = Document.parse(line.text)
            id = self._shape.curie(document.id)
            if self.scope.watched is not None and id not in self.scope.watched:
                return False
            subject = self._shape.subject(document, list(self._pids.values()))
        except SourceDataError as error:
            found.rejected += 1
            found.reject = found.reject or f"the line before byte {line.after}: {error}"
            return False
        state = self._state(id, subject)
        stated = observations(self.source, state, self.scope.relations, self._now())
        found.observations += [one for one in stated if one.statements]
        return True

    def _state(self, id: str, subject: Subject) -> SubjectState:
        slots = {}
        for relation, pid in self._pids.items():
            try:
                slots[relation] = statements_of(subject, self._vocabulary.claim(pid), self._vocabulary)
            except SourceDataError:
                continue  # as over SPARQL: a slot is reported whole or not at all
        version = subject.description.version
        assert version is not None  # `EntityShape.subject` raises without one
        return SubjectState(subject.description.entity(id, self.scope.languages), version, slots, {})

    def _describe(self, line: EntityLine, ids: Collection[str], found: _Found) -> None:
        try:
            document = Document.parse(line.text)
            id = self._shape.curie(document.id)
            if id in ids:
                found.labels[id] = self._shape.subject(document, ())
        except SourceDataError as error:
            found.rejected += 1
            found.reject = found.reject or f"the line before byte {line.after}: {error}"

    def _named(self, found: _Found) -> Poll:
        labels = (
            subject.description.entity(id, self.scope.languages) for id, subject in found.labels.items()
        )
        return Poll((), None, labels=tuple(labels), rejected=found.rejected, reject=found.reject)


def _counted(place: DumpPlace, found: _Found, after: int) -> DumpPlace:
    """The place after a step of the first stage; counted once a step, since a dump has millions of lines."""
    return dataclasses.replace(
        place,
        after=after,
        lines=place.lines + found.lines,
        kept=place.kept + found.kept,
        latest=max(place.latest, found.latest),
    )


def _poll(found: _Found) -> Poll:
    return Poll(tuple(found.observations), None, rejected=found.rejected, reject=found.reject)
