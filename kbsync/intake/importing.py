"""A first import from a published dump: statements, labels of what they name, admission, then the source's cursor.

Each step is one transaction together with the place in the dump, so an import that was interrupted, even by a crash,
continues where it was, to the same ledger.  The place has a cursor of its own; the source's cursor is set at the end,
and the source's next poll reads what changed since the dump was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from connectors.dates import instant
from connectors.wikidata.dump.opening import cursor_after
from connectors.wikidata.dump.reading import Dump, DumpPlace, DumpStep
from connectors.wikidata.settings import WatchSettings
from connectors.wikidata.stream import StreamSettings
from editing.progress import Pace, TimedProgress
from kbsync.intake.pull import PAGE, Intake
from kbsync.intake.report import IntakeReport
from state.ledger import State
from state.sources import import_cursor

_PAGE = 10_000
_PARTS = 1_000
"""Parts into which progress divides the file."""


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    source: str
    entities: int = 0
    """Entities in the dump."""
    watched: int = 0
    """Those of the watch list among them that could be read."""
    labels: int = 0
    """Labels of other entities, which the statements name; of this invocation."""
    resumed: bool = False
    """Whether it continued an earlier import of the same dump."""
    already: bool = False
    """Whether the dump had been imported before, so that there was nothing to do."""
    taken_over: bool = False
    """Whether the source now continues from the dump; False if it had been read before, or is not configured."""
    latest: str = ""
    """When the last change was made that is in the dump, in ISO 8601; empty if its entities have no dates."""
    outlived: bool = False
    """Whether the dump is older than what the source's stream keeps, so that only the comparison of versions shows what
    changed since."""
    intake: IntakeReport = field(default_factory=IntakeReport)
    """What was read and admitted by this invocation."""


@dataclass
class DumpImport:
    """One import."""

    state: State
    intake: Intake
    dump: Dump
    settings: WatchSettings | None
    """Of the source; None: it is not configured, so there is no cursor to set."""
    progress: TimedProgress

    def run(self) -> ImportReport:
        """Import, or continue; raises SourceDataError for a damaged or incomplete dump."""
        place, resumed = self._place()
        report = ImportReport(self.dump.source, resumed=resumed, already=place.stage == "done")
        if place.stage == "statements":
            for step in self.dump.statements(place, self._progress("statements")):
                place = self._apply(step, report)
        if place.stage == "labels":
            wanted = self._unlabelled()
            for step in self.dump.labels(wanted, place, self._progress("labels")):
                report.labels += len(step.poll.labels)
                place = self._apply(step, report)
        if place.stage == "admission":
            place = self._admit(place, report)
            report.taken_over = self._take_over(place)
        report.entities, report.watched, report.latest = place.lines, place.kept, place.latest
        if isinstance(self.settings, StreamSettings) and place.latest:
            report.outlived = self.intake.clock() - instant(place.latest) > self.settings.retention
        return report

    def _place(self) -> tuple[DumpPlace, bool]:
        """Where to go on: in this dump for this watch list, or at its beginning."""
        of = f"{self.dump.file.identity} {self.dump.scope.identity()}"
        with self.state.read() as tx:
            text = tx.cursor(import_cursor(self.dump.source))
        known = DumpPlace.load(text) if text is not None else None
        if known is None or known.of != of:
            return DumpPlace(of), False
        return known, known != DumpPlace(of)

    def _apply(self, step: DumpStep, report: ImportReport) -> DumpPlace:
        """Store what the step found; it is judged when the labels of its objects are known."""
        cursors = {import_cursor(self.dump.source): step.place.dump()}
        report.intake.merge(self.intake.apply(self.dump.source, step.poll, cursors=cursors, admit=False))
        self.intake.alive()
        return step.place

    def _admit(self, place: DumpPlace, report: ImportReport) -> DumpPlace:
        """Admit every slot of the source, page by page; the last page ends the import."""
        source = self.dump.source
        with self.state.read() as tx:
            slots = tx.count_watched().get(source, 0)
        show = self._progress("admission")
        admitted = 0
        while place.stage == "admission":
            with self.state.read() as tx:
                pairs, after = tx.watched_page(source, place.after, PAGE)
            last = len(pairs) < PAGE
            place = replace(place, stage="done" if last else "admission", after=after)
            cursors = {import_cursor(source): place.dump()} if not last else {}
            self.intake.admit_page(pairs, report.intake, bootstrap=True, cursors=cursors)
            admitted += len(pairs)
            show(min(1.0, admitted / max(1, slots)))
            self.intake.alive()
        return place

    def _unlabelled(self) -> frozenset[str]:
        found: set[str] = set()
        after = ""
        while True:
            with self.state.read() as tx:
                page = tx.unlabelled(after, _PAGE)
            found.update(page)
            if len(page) < _PAGE:
                return frozenset(found)
            after = page[-1]

    def _take_over(self, place: DumpPlace) -> bool:
        """End the import.  The source continues from the dump, unless it was read already: its cursor is as good."""
        source, cursor = self.dump.source, None
        with self.state.read() as tx:
            known = tx.cursor(source) is not None
        if self.settings is not None and not known:
            cursor = cursor_after(self.settings, self._revisions(), place, self.intake.clock())
        with self.intake.write() as tx:
            if cursor is not None:
                tx.set_cursor(source, cursor)
            tx.set_cursor(import_cursor(source), place.dump())
        return cursor is not None

    def _revisions(self) -> Iterator[tuple[str, int]]:
        position = 0
        while True:
            with self.state.read() as tx:
                page, after = tx.revisions_page(self.dump.source, position, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            position = after

    def _progress(self, phase: str) -> Callable[[float], None]:
        timing, name = Pace(), f"import: {phase}"

        def report(share: float) -> None:
            done = int(share * _PARTS)
            self.progress(name, done, _PARTS, timing.at(name, done, _PARTS)[1])

        return report
