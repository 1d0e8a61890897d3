"""Reading a log of which a part was archived: whole where the files are there, else from the signed cut on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from state import merkle, replay_state
from state.archives.cuts import Cut, cut_of
from state.archives.files import Archive, ArchivedFile
from state.errors import Damaged
from state.hash_chain import link
from state.log_proofs import events, instance_of
from state.redaction import Redactions
from state.replay import Replay
from state.tree import Recomputed, Tree
from state.witnessed import Log


class Unfit(Damaged):
    """An event up to the cut is not what it has to be."""

    def __init__(self, seq: int, reason: str) -> None:
        self.seq = seq
        super().__init__(reason)


@dataclass
class VerifiedBeginning:
    """What is known of a log up to its cut: a verification continues from there."""

    log: Log
    tree: Recomputed
    redactions: Redactions = field(default_factory=Redactions)


def whole(connection: Connection, archive: Archive, cut: Cut | None) -> Iterator[dict[str, Any]]:
    """Every event in order, those up to the cut from their files.

    Raises ArchiveMissing and Damaged for a file, Unfit for an event that the ledger has as well, but not so, or that
    the ledger should have kept.
    """
    there = events(connection)
    row = next(there, None)
    kept = _kept_if_there(archive, cut)
    for segment in () if cut is None else cut.segments:
        for old in archive.rows(segment):
            seq = old["seq"]
            if row is not None and row["seq"] == seq:
                if row != old:
                    raise Unfit(seq, f"event {seq} of the ledger is not the one in {segment.content.file}")
                row = next(there, None)
            elif kept.get(seq) is not None:
                raise Unfit(seq, f"event {seq} is missing from the ledger: it was not to be archived")
            yield old
    if row is not None:
        yield row
        yield from there


def replayed(connection: Connection, archive: Archive, replay: Replay) -> None:
    """Replay a log without verifying it: from its cut on, where the state there was written down."""
    cut = cut_of(connection)
    if cut is None or not archive.has(cut.state):
        rows = whole(connection, archive, cut)
    else:
        lines = archive.lines(cut.state)
        next(lines)
        replay_state.begin(replay, lines)
        rows = events(connection, cut.last)
    for row in rows:
        replay.event(row)


def written_state(archive: Archive, last: int, kept: Mapping[int, str], replay: Replay) -> ArchivedFile:
    """Write down what the tables have to be after event `last`; `kept`: hashes of the events that stay, by number."""

    def lines() -> Iterator[str]:
        yield json.dumps(kept)
        yield from replay_state.written(replay)

    return archive.write(f"state-{last:012}", lines())


def kept_of(archive: Archive, cut: Cut) -> dict[int, str]:
    """The hashes of events up to the cut that stay in the ledger, by number.  Raises as `Archive.lines` does."""
    lines = archive.lines(cut.state)
    return {int(seq): hash for seq, hash in json.loads(next(lines)).items()}


def _kept_if_there(archive: Archive, cut: Cut | None) -> dict[int, str]:
    """Without the file the segments are enough to verify everything but this."""
    return kept_of(archive, cut) if cut is not None and archive.has(cut.state) else {}


def begin_at(cut: Cut, connection: Connection, archive: Archive, replay: Replay | None) -> VerifiedBeginning:
    """Verify what is left of the log up to the cut, and have the replay begin there.

    Every file that is there is read.  Raises ArchiveMissing where the state's is not there, Damaged for a file that
    was changed, Unfit for an event.
    """
    lines = archive.lines(cut.state)
    kept = {int(seq): hash for seq, hash in json.loads(next(lines)).items()}
    if replay is not None:
        replay_state.begin(replay, lines)
    for segment in cut.segments:
        if archive.has(segment.content):
            for _ in archive.lines(segment.content):
                break  # its digest was compared
    tree = Tree(connection)
    if tree.root(cut.last).hex() != cut.root:
        raise Unfit(1, f"the tree's rows over the first {cut.last} events are not those that were signed")
    begun = VerifiedBeginning(
        Log(
            instance_of(connection),
            head=cut.last,
            hashes={cut.last: cut.hash},
            roots={cut.last: bytes.fromhex(cut.root)},
            archived=cut.last,
        ),
        Recomputed(merkle.Frontier.of(cut.last, tree.node)),
    )
    _check_kept(connection, cut, kept, begun)
    return begun


def _check_kept(connection: Connection, cut: Cut, kept: dict[int, str], begun: VerifiedBeginning) -> None:
    """Compare the events that stay in the ledger with their hashes, which the signed state has."""
    for row in events(connection):
        seq = row["seq"]
        if seq > cut.last:
            break
        hash = kept.pop(seq, None)
        if hash is None:
            raise Unfit(
                seq, f"event {seq} is archived, and still in the ledger: `kbsync retention` removes it"
            )
        if row["hash"] != hash or (link(row) != hash and not begun.redactions.expect(row)):
            raise Unfit(seq, f"event {seq} was changed: its hash does not match its content")
        begun.log.lineage.event(row)
        begun.redactions.event(row, begun.log.lineage)
    if kept:
        raise Unfit(min(kept), f"event {min(kept)} is missing from the ledger: it was not to be archived")
