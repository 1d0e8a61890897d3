"""Signed notes and tree heads, in the published formats of C2SP: signed-note and tlog-checkpoint.

A note is lines of text, an empty line, and signatures; a tree head ("checkpoint" there) is a note of the log's
origin, its size and the root of its Merkle tree.  Keys are ed25519; a public key is written as other tools of
transparency logs write it: `NAME+HASH+BASE64`.  https://github.com/C2SP/C2SP/blob/main/signed-note.md,
https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from state.errors import Damaged

_ED25519 = b"\x01"
_SIGNATURE = re.compile(r"— ([^ +\n]+) ([A-Za-z0-9+/]+={0,2})")
_ROOT_BYTES = 32
_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A name and the 32 bytes of an ed25519 key."""

    name: str
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Damaged unless `text` is `NAME+HASH+BASE64`."""
        try:
            name, identifier, encoded = text.strip().split("+", 2)
            kind, raw = (whole := base64.b64decode(encoded, validate=True))[:1], whole[1:]
            key = cls(name, raw)
            if kind != _ED25519 or len(raw) != 32 or key.id.hex() != identifier or not name:
                raise ValueError("its parts do not belong together")
        except ValueError as error:
            raise Damaged(f"{text[:80]!r} is not a public key NAME+HASH+BASE64 ({error})") from None
        return key

    @property
    def id(self) -> bytes:
        """Four bytes by which a signature names its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_text(_ED25519 + self.raw)}"

    def has_signed(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(self.name, raw)

    def signature(self, text: str) -> bytes:
        return self.private.sign(text.encode())

    def sign(self, text: str) -> str:
        """The note of `text`, which ends with a line feed."""
        return f"{text}\n— {self.name} {_text(self.public.id + self.signature(text))}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures: (name, id, signature) of each."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, whole: str) -> Self:
        """Raises Damaged unless `whole` is a note with at least one signature."""
        text, separator, rest = whole.rpartition("\n\n")
        lines = rest.removesuffix("\n").split("\n")
        found = [_SIGNATURE.fullmatch(line) for line in lines]
        if not separator or not rest.endswith("\n") or not all(found):
            raise Damaged(f"{whole[:80]!r} is not a signed note: text, an empty line, signatures")
        signatures = []
        for one in found:
            assert one is not None
            try:
                decoded = base64.b64decode(one[2], validate=True)
            except ValueError as error:
                raise Damaged(f"{one[0][:80]!r} is not a signature ({error})") from None
            signatures.append((one[1], decoded[:_ID_BYTES], decoded[_ID_BYTES:]))
        return cls(f"{text}\n", tuple(signatures))

    def signed_by(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of `keys` that has signed it."""
        for key in keys:
            for name, id, signature in self.signatures:
                if (name, id) == (key.name, key.id) and key.has_signed(self.text, signature):
                    return key
        return None


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The state of a log: what its first `size` events are."""

    origin: str
    """The log's name; a restored ledger is another log."""
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of its note."""
        return "".join(
            f"{line}\n" for line in (self.origin, str(self.size), _text(self.root), *self.extensions)
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Damaged unless `text` is that of a tree head."""
        try:
            origin, size, root, *extensions = text.removesuffix("\n").split("\n")
            head = cls(origin, int(size), base64.b64decode(root, validate=True), tuple(extensions))
            if head.text != text or len(head.root) != _ROOT_BYTES or not origin or head.size < 0:
                raise ValueError("it is not written as one")
        except ValueError as error:
            raise Damaged(f"{text[:80]!r} is not a tree head: origin, size, root ({error})") from None
        return head


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
