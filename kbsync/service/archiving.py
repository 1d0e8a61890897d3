"""`[retention] archive`: old events are moved out of the ledger into compressed files of the home.

In this order, so that a process which dies anywhere leaves a log that verifies, and the next one goes on:

1. Log and tables are verified, and what the tables have to be at the cut is written down.
2. Every event up to the cut is written into files, whose names have their digests.
3. A signed event names the files: from now on the log is read with them.
4. The rows of events that nothing needs any more are deleted, a page at a time.

After 1 and 2 there are files that the log does not name, which are deleted; after 3, rows that are in a file as well.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from editing.crashpoints import crash_point
from kbsync.application import Application
from kbsync.errors import BadData
from kbsync.leadership import ACTOR, Leadership
from kbsync.proofs import keys
from kbsync.proofs.witnesses import configured
from kbsync.runs.integrity import ADVICE
from state import Snapshot
from state.archives.cuts import Cut
from state.archives.erasure import name_of
from state.archives.files import Segment, line_of
from state.archives.log import kept_of
from state.hash_chain import instant
from state.retention import InUse

SEGMENT = 8_192
"""Events in one file at most; a multiple of 256."""


def obstacle(app: Application) -> str:
    """Why nothing may be archived; empty if it may."""
    if keys.signer(app) is None:
        return "the log has no key to sign what is archived: `kbsync keys create`"
    return ""


def last_to_archive(app: Application, tx: Snapshot, before: datetime) -> int:
    """The number up to which events are to be archived, or are.

    No witness is left without a head of what stays in the ledger: its newest one is compared in any case.
    """
    cut = tx.cut()
    newest = [lines[-1].seq for witness in configured(app) if (lines := witness.kept())]
    last = tx.last_to_archive(before, min(newest, default=None))
    return last if cut is None else max(last, cut.last)


def count(app: Application, before: datetime, in_use: InUse) -> int:
    """How many rows archiving would remove from the ledger."""
    with app.state.read() as tx:
        last = last_to_archive(app, tx, before)
        cut = tx.cut()
        done = cut is not None and cut.last == last
        kept = kept_of(app.state.archive, cut) if cut and done else tx.staying(last, in_use)
        return sum(map(len, tx.archived_rows(1, last, kept)))


def archive(app: Application, leadership: Leadership, before: datetime, in_use: InUse) -> int:
    """Move events older than `before` into files; returns how many rows were removed from the ledger.

    Raises BadData if log or tables do not verify, and what writing a file raises.
    """
    app.state.tidy_archive()
    with app.state.read() as tx:
        last, cut = last_to_archive(app, tx, before), tx.cut()
        is_new = last > (0 if cut is None else cut.last)
        kept = tx.staying(last, in_use) if is_new else {}
    if is_new:
        cut = _cut(app, leadership, last, before, kept)
    elif cut is not None:
        kept = kept_of(app.state.archive, cut)
    return 0 if cut is None else _remove(app, leadership, cut, kept)


def _cut(app: Application, leadership: Leadership, last: int, before: datetime, kept: dict[int, str]) -> Cut:
    """Write the files and state the cut."""
    signer = keys.signer(app)
    assert signer is not None, "see obstacle"
    witnesses = tuple(lines for witness in configured(app) if (lines := witness.kept()))
    found, state = app.state.audit.state_after(last, kept, witnesses)
    if state is None:
        raise BadData(f"nothing was archived: {found.reason}", ADVICE[found.failed or "chain"])
    leadership.renew()
    crash_point("kbsync.archiving:after-state")
    segments = []
    with app.state.read() as tx:
        earlier = tx.cut()
        for first in range(1 if earlier is None else earlier.last + 1, last + 1, SEGMENT):
            segments.append(_segment(app, tx, first, min(first + SEGMENT - 1, last), before))
            leadership.renew()
            crash_point("kbsync.archiving:after-segment")
        (newest,) = tx.rows_between(last, last)
        hash = str(newest["hash"])
    made = Cut(
        last,
        instant(before),
        hash,
        app.state.audit.root(last).hex(),
        state,
        (*(() if earlier is None else earlier.segments), *segments),
    )
    with leadership.write() as tx:
        tx.state_cut(made, ACTOR, signer.signature)
    crash_point("kbsync.archiving:after-event")
    app.state.tidy_archive()
    return made


def _segment(app: Application, tx: Snapshot, first: int, last: int, before: datetime) -> Segment:
    rows = tx.rows_between(first, last)
    content = app.state.archive.write(name_of(first, last), map(line_of, rows))
    return Segment(first, last, instant(before), content)


def _remove(app: Application, leadership: Leadership, cut: Cut, kept: dict[int, str]) -> int:
    """Delete the rows that the cut covers and that do not stay, page by page."""
    count = 0
    first = 1
    while page := _next_page(app, cut, kept, first):
        with leadership.write() as tx:
            count += tx.remove_archived(page)
        first = page[-1] + 1
        leadership.renew()
        crash_point("kbsync.archiving:after-page")
    return count


def _next_page(app: Application, cut: Cut, kept: dict[int, str], first: int) -> list[int]:
    with app.state.read() as tx:
        return next(tx.archived_rows(first, cut.last, kept), [])


def old_files(app: Application, before: datetime) -> list[str]:
    """The archived files whose events were archived as older than an instant before then."""
    with app.state.read() as tx:
        cut = tx.cut()
    return [] if cut is None else [one.content.file for one in cut.segments if _is_old(one, before)]


def delete_files(app: Application, leadership: Leadership, before: datetime) -> int:
    """State, signed, that those files are not read any more, and delete them; returns how many."""
    signer, gone = keys.signer(app), old_files(app, before)
    if gone and signer is not None:
        with leadership.write() as tx:
            if (cut := tx.cut()) is not None:
                left = tuple(one.unread if _is_old(one, before) else one for one in cut.segments)
                tx.state_cut(replace(cut, segments=left), ACTOR, signer.signature)
        crash_point("kbsync.archiving:after-end")
    app.state.tidy_archive()
    return len(gone)


def _is_old(segment: Segment, before: datetime) -> bool:
    return bool(segment.content.digest) and segment.before <= instant(before)
