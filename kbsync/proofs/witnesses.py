"""Witnesses: where the heads of the log are kept so that it cannot be rewritten unnoticed.

A file (on append-only storage, or in the reach of another kbsync) gets a line for every head.  An address
(`witnessing.py` is such a server) gets the head with the proof that it continues the one it saw last, in the
published protocol of C2SP's tlog-witness; its cosignatures are kept in the home.  https://github.com/C2SP/C2SP/blob/main/tlog-witness.md
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kbsync.application import Application
from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, described
from kbsync.errors import BadConfiguration, BadData, TryLater
from kbsync.proofs import keys
from state import anchors
from state.audit import Audit
from state.cosignatures import WitnessKey
from state.errors import AnchorContradicted, AnchorMissing, Damaged
from state.notes import Note, SigningKey
from state.records import Anchor

TIMEOUT_S = 30.0


class Witness(Protocol):
    @property
    def name(self) -> str: ...

    def kept(self) -> tuple[Anchor, ...]:
        """What is known of its heads; none before the first."""
        ...

    def publish(self, audit: Audit, signer: SigningKey | None, *, restored: bool = False) -> Anchor | None:
        """Add the head of the log; raises AnchorContradicted if the witness knows another log."""
        ...

    def ask(self, audit: Audit, signer: SigningKey | None) -> None:
        """Raise AnchorContradicted if the witness knows another log than what is kept here of its heads.

        Raises TryLater or BadConfiguration if it gives no answer.
        """
        ...


@dataclass(frozen=True)
class FileWitness:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def kept(self) -> tuple[Anchor, ...]:
        try:
            return anchors.read_anchors(self.path)
        except AnchorMissing:
            return ()

    def publish(self, audit: Audit, signer: SigningKey | None, *, restored: bool = False) -> Anchor | None:
        return audit.write_anchor(self.path, signer, restored=restored)

    def ask(self, audit: Audit, signer: SigningKey | None) -> None:
        """The file is all that it knows."""


@dataclass(frozen=True)
class HttpWitness:
    """A server that cosigns heads whose consistency it has verified itself."""

    name: str
    """Its address."""
    file: Path
    """The heads that it has cosigned."""
    trusted: tuple[WitnessKey, ...] = ()
    """Its keys; none: a cosignature is kept as it comes."""

    def kept(self) -> tuple[Anchor, ...]:
        return FileWitness(self.file).kept()

    def publish(self, audit: Audit, signer: SigningKey | None, *, restored: bool = False) -> Anchor | None:
        """Raises TryLater if it cannot be reached, BadConfiguration if it does not know the log or the key."""
        head = audit.anchor()
        if head is None or head.seq in {one.seq for one in self.kept()}:
            return head
        return self._cosigned(audit, head, signer)

    def ask(self, audit: Audit, signer: SigningKey | None) -> None:
        """Let the server check that the log continues the head that it cosigned last: nobody here can forge that."""
        head = audit.anchor()
        if head is not None:
            self._cosigned(audit, head, signer)

    def _cosigned(self, audit: Audit, head: Anchor, signer: SigningKey | None) -> Anchor:
        """The head with the server's cosignature, added to those that are kept."""
        if signer is None:
            raise BadConfiguration(
                f"the witness {self.name} takes signed heads only", "create a key with `kbsync keys create`"
            )
        note = audit.tree_head(signer, head.seq)
        known = {one.seq for one in self.kept()}
        cosigned = self._submit(audit, note, head.seq, max(known, default=0))
        try:
            whole = Note.parse(note + cosigned)
        except Damaged as error:
            raise BadData(f"the witness {self.name} answered with no cosignature: {error}") from error
        if self.trusted and not any(key.cosigned(whole) for key in self.trusted):
            raise BadData(
                f"the witness {self.name} answered with a cosignature by none of its keys",
                "compare [state] witness_keys with what its operator's `kbsync keys show --witness` prints",
            )
        kept = replace(head, note=note + cosigned)
        if head.seq not in known:
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            anchors.append(self.file, kept)
        return kept

    def _submit(self, audit: Audit, note: str, size: int, old: int) -> str:
        """The witness's answer to the head; it may know of a later one than we remember."""
        server = Server(self.name, None, TIMEOUT_S)
        for _ in range(2):
            proof = [base64.b64encode(step).decode() for step in audit.consistency(old, size)]
            body = "\n".join([f"old {old}", *proof, "", note])
            try:
                answer = server.post(body=body.encode())
            except HookFailed as error:
                raise TryLater(f"the witness cannot be reached: {error}", "it is asked again") from error
            match answer.status_code:
                case 200:
                    return answer.text
                case 409 if re.fullmatch("[0-9]{1,18}", answer.text.strip()):
                    before, old = old, int(answer.text)
                    if old > size:
                        raise AnchorContradicted(
                            f"the witness {self.name} has seen {old} events, the log has {size}: its tail was cut",
                            size + 1,
                        )
                    if before == old == size:
                        raise self._rewritten(old)
                case 422:
                    raise self._rewritten(old)
                case 403 | 404:
                    raise BadConfiguration(
                        f"the witness refuses this log or its key: {described(answer)}",
                        "give its operator the log's origin and key: `kbsync keys show`",
                    )
                case _:
                    raise TryLater(f"the witness does not answer: {described(answer)}", "it is asked again")
        raise TryLater(f"the witness {self.name} was sent another head meanwhile", "it is asked again")

    def _rewritten(self, seen: int) -> AnchorContradicted:
        return AnchorContradicted(
            f"the log is not a continuation of the {seen} events that the witness {self.name} has "
            "seen: history was rewritten",
            seen,
        )


def configured(app: Application) -> list[Witness]:
    """The witnesses of the settings: the anchor file, and `[state] witnesses`."""
    settings = app.settings.state
    found: list[Witness] = [] if settings.anchor is None else [FileWitness(settings.anchor)]
    trusted = tuple(map(WitnessKey.parse, settings.witness_keys))
    for place in settings.witnesses:
        if place.startswith(("http://", "https://")):
            name = hashlib.sha256(place.encode()).hexdigest()[:16]
            found.append(HttpWitness(place, app.home.witnesses / f"{name}.jsonl", trusted))
        else:
            found.append(FileWitness(Path(place)))
    return found


def newest_signed(kept: Sequence[Anchor], origin: str) -> Anchor | None:
    """The newest signed head of this log: the daemon has verified the log before it signed."""
    signed = [one for one in kept if one.note and one.note.partition("\n")[0] == origin]
    return max(signed, key=lambda one: one.seq, default=None)


def publish(app: Application, witnesses: Sequence[Witness], *, restored: bool = False) -> list[Anchor | None]:
    """Add the head of the log, signed where the log has a key, to these witnesses."""
    signer = keys.signer(app)
    return [witness.publish(app.state.audit, signer, restored=restored) for witness in witnesses]
