"""Cosignatures: what a witness states of a log's head, in the published format of C2SP (ed25519, `cosignature/v1`).

A cosignature states that, at a time, the head is the largest that the witness has seen of this log, and that it
continues all earlier ones.  https://github.com/C2SP/C2SP/blob/main/tlog-cosignature.md
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from state.errors import Damaged
from state.notes import Note, PublicKey, SigningKey

_KIND = b"\x04"
_RAW_BYTES, _TIME_BYTES, _ID_BYTES = 32, 8, 4
_LATEST = int(datetime.max.replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The public key of a witness."""

    name: str
    raw: bytes

    @classmethod
    def of(cls, key: PublicKey) -> Self:
        """The same ed25519 key in the role of a witness."""
        return cls(key.name, key.raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Damaged unless `text` is `NAME+HASH+BASE64` of a witness's key."""
        try:
            name, identifier, encoded = text.strip().split("+", 2)
            whole = base64.b64decode(encoded, validate=True)
            key = cls(name, whole[1:])
            if whole[:1] != _KIND or len(key.raw) != _RAW_BYTES or key.id.hex() != identifier or not name:
                raise ValueError("its parts do not belong together")
        except ValueError as error:
            raise Damaged(f"{text[:80]!r} is not a witness's key NAME+HASH+BASE64 ({error})") from None
        return key

    @property
    def id(self) -> bytes:
        """Four bytes by which a cosignature names its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _KIND + self.raw).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_KIND + self.raw).decode()}"

    def cosigned(self, note: Note) -> datetime | None:
        """When this witness cosigned the note; None if it did not."""
        for name, id, signature in note.signatures:
            at = int.from_bytes(signature[:_TIME_BYTES])
            message = _message(at, note.text)
            is_ours = (name, id) == (self.name, self.id) and at <= _LATEST
            if is_ours and PublicKey(name, self.raw).has_signed(message, signature[_TIME_BYTES:]):
                return datetime.fromtimestamp(at, UTC)
        return None


def cosign(key: SigningKey, text: str, at: datetime) -> str:
    """The line that adds a cosignature to the note of `text`."""
    seconds = int(at.timestamp())
    signature = seconds.to_bytes(_TIME_BYTES) + key.signature(_message(seconds, text))
    encoded = base64.b64encode(WitnessKey.of(key.public).id + signature).decode()
    return f"— {key.name} {encoded}\n"


def _message(at: int, text: str) -> str:
    return f"cosignature/v1\ntime {at}\n{text}"
