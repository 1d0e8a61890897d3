"""The witness's side: heads of other logs are checked against the last one that was seen, and cosigned.

It is the call `add-checkpoint` of C2SP's tlog-witness (`witnesses.py` is its client).  The newest head of each log is
kept in the home; it is replaced under a lock and synced before the answer is sent, so that no crash and no second
process makes the witness cosign two histories.  https://github.com/C2SP/C2SP/blob/main/tlog-witness.md
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from editing.durable import write_file
from kbsync.application import Application
from kbsync.home import PRIVATE
from kbsync.proofs import keys
from kbsync.settings.witnessed import WitnessedSettings
from state.cosignatures import cosign
from state.errors import Damaged
from state.merkle import EMPTY, is_consistent
from state.notes import Note, PublicKey, TreeHead

log = structlog.get_logger()

SIZE = "text/x.tlog.size"
"""The media type of an answer that states the size of the newest head."""
MOST_STEPS = 63
_OLD = re.compile(r"old (0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """What the witness answers."""

    status: int
    text: str
    media_type: str = "text/plain"


class _Refused(Exception):
    def __init__(self, status: int, why: str, media_type: str = "text/plain") -> None:
        super().__init__(why)
        self.answer = WitnessAnswer(status, f"{why}\n", media_type)


def add_checkpoint(app: Application, body: bytes) -> WitnessAnswer:
    """Cosign a head if it continues the newest one of its log that was cosigned here.

    Raises BadConfiguration if the private half of this log's key is not here.
    """
    try:
        old, proof, note = _parsed(body)
        head = TreeHead.parse(note.text)
        _check_signer(app, head, note)
        if old > head.size:
            raise _Refused(400, f"a head of {head.size} events does not continue one of {old}")
        signer = keys.signer(app)
        if signer is None:
            raise _Refused(503, "this witness has no key to cosign with: `kbsync keys create`")
        with _locked(app.home.witnessed):
            _check_continues(newest(app, head.origin), head, old, proof)
            line = cosign(signer, note.text, app.now())
            write_file(_file(app, head.origin), (text_of(note) + line).encode(), mode=PRIVATE)
    except Damaged as error:
        return WitnessAnswer(400, f"{error}\n")
    except _Refused as refused:
        log.warning("witness.refused", status=refused.answer.status, reason=str(refused))
        return refused.answer
    return WitnessAnswer(200, line)


def newest(app: Application, origin: str) -> Note | None:
    """The newest head of a log that was cosigned here; None before the first.

    Raises Damaged if it cannot be read.
    """
    try:
        return Note.parse(_file(app, origin).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def text_of(note: Note) -> str:
    """The whole note as it is sent."""
    encoded = ((name, base64.b64encode(id + signature).decode()) for name, id, signature in note.signatures)
    return note.text + "\n" + "".join(f"— {name} {text}\n" for name, text in encoded)


def _check_continues(known: Note | None, head: TreeHead, old: int, proof: list[bytes]) -> None:
    """Raise _Refused unless the head continues the one that is known."""
    before = TreeHead(head.origin, 0, EMPTY) if known is None else TreeHead.parse(known.text)
    if old != before.size or (head.size == before.size and head.root != before.root):
        raise _Refused(409, str(before.size), SIZE)
    if not is_consistent(old, head.size, before.root, head.root, proof):
        raise _Refused(
            422, f"this head does not continue that of {before.size} events: history was rewritten"
        )


def _check_signer(app: Application, head: TreeHead, note: Note) -> None:
    known: list[WitnessedSettings] = [
        one for one in app.settings.witnessed.values() if one.origin == head.origin
    ]
    if not known:
        raise _Refused(404, f"this is no witness of {head.origin[:80]}")
    if note.signed_by(PublicKey.parse(key) for one in known for key in one.keys) is None:
        raise _Refused(403, f"no key that is trusted for {head.origin[:80]} has signed this head")


def _parsed(body: bytes) -> tuple[int, list[bytes], Note]:
    """Old size, consistency proof and head.  Raises Damaged."""
    try:
        first, separator, rest = body.decode().partition("\n\n")
        old, *steps = first.split("\n")
        if not separator or (stated := _OLD.fullmatch(old)) is None or len(steps) > MOST_STEPS:
            raise ValueError("it begins with `old SIZE`, the steps of a proof, and an empty line")
        proof = [base64.b64decode(step, validate=True) for step in steps]
        if any(len(step) != hashlib.sha256().digest_size for step in proof):
            raise ValueError("a step of its proof is not a hash")
    except ValueError as error:
        raise Damaged(f"this is no submission of a head: {error}") from None
    return int(stated[1]), proof, Note.parse(rest)


def _file(app: Application, origin: str) -> Path:
    return app.home.witnessed / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.note"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Only one process at a time looks at the newest head and replaces it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
