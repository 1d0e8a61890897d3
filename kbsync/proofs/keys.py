"""The operator's signing keys: files that only their owner can read; the log has their public halves and history.

A key lies in the home (`keys/NAME.pem`), or comes from systemd as the credential `kbsync-signing-key`.  Which
key signs is stated by the log.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kbsync.application import Application
from kbsync.errors import BadConfiguration, UsageError
from kbsync.home import Home
from kbsync.private_keys import key_files, read_key, write_key
from state import Transaction
from state.lineage import LoggedKey, rotation
from state.notes import PublicKey, SigningKey

CREDENTIAL = "kbsync-signing-key"
"""The systemd credential (`LoadCredential=`) that holds a key as PEM."""

_NAME = re.compile(r"[A-Za-z0-9._/-]{1,64}")


def signer(app: Application) -> SigningKey | None:
    """The key that signs now; None if the log has none.

    Raises BadConfiguration if its private half is neither in the home nor a credential.
    """
    active = app.state.audit.lineage().active()
    if active is None:
        return None
    for private in _private_keys(app.home):
        found = SigningKey(active.key.name, private)
        if found.public == active.key:
            return found
    raise BadConfiguration(
        f"the private half of the signing key {active.key.name} is neither in {app.home.keys} nor the "
        f"credential {CREDENTIAL}",
        "put its file back, or revoke it and create another: `kbsync keys revoke`, `kbsync keys create`",
    )


def create(app: Application, name: str | None, file: Path | None, actor: str) -> SigningKey:
    """Make the first signing key, or the next one after the last was revoked, and record its public half.

    `file`: an existing ed25519 key (PEM) to use instead.  Raises UsageError if a key signs already.
    """
    active = app.state.audit.lineage().active()
    if active is not None:
        raise UsageError(
            f"{active.key.name} signs already", "replace it with `kbsync keys rotate`, or revoke it first"
        )
    made = _made(name, file)
    _store(app, made)
    with app.state.write() as tx:
        tx.emit("key.created", actor, {"key": str(made.public)})
    return made


def rotate(app: Application, name: str | None, file: Path | None, actor: str) -> SigningKey:
    """Replace the key that signs by a new one, which it vouches for.  Raises UsageError if there is none."""
    previous = signer(app)
    if previous is None:
        raise UsageError("no key signs yet", "create one with `kbsync keys create`")
    made = _made(name, file)
    _store(app, made)
    signature = previous.signature(rotation(previous.public, made.public))
    body = {
        "key": str(made.public),
        "previous": str(previous.public),
        "signature": base64.b64encode(signature).decode(),
    }
    with app.state.write() as tx:
        tx.emit("key.rotated", actor, body)
    return made


def revoke(app: Application, name: str, reason: str, actor: str) -> LoggedKey:
    """Record that later signatures of a key do not count, and delete its file from the home.

    Raises UsageError if the log has no such key, or if it is revoked already.
    """
    found = named(app, name)
    if found.revoked is not None:
        raise UsageError(f"{found.key.name} was revoked by event {found.revoked}", "see `kbsync keys list`")
    with app.state.write() as tx:
        _revoke(tx, found.key, reason, actor)
    _file(app.home, found.key).unlink(missing_ok=True)
    return found


def _revoke(tx: Transaction, key: PublicKey, reason: str, actor: str) -> None:
    tx.emit("key.revoked", actor, {"key": str(key), "reason": reason})


def named(app: Application, name: str | None) -> LoggedKey:
    """A key of the log by its name or its public text; None: the one that signs.  Raises UsageError."""
    lineage = app.state.audit.lineage()
    if name is None:
        found = lineage.active()
    else:
        found = next((one for one in lineage.keys.values() if name in (one.key.name, str(one.key))), None)
    if found is None:
        known = ", ".join(one.key.name for one in lineage.keys.values()) or "none"
        raise UsageError(f"there is no key {name}" if name else "no key signs", f"keys of this log: {known}")
    return found


def has_private(app: Application, key: PublicKey) -> bool:
    """Whether this home, or a credential, has the private half."""
    return any(SigningKey(key.name, private).public == key for private in _private_keys(app.home))


def _made(name: str | None, file: Path | None) -> SigningKey:
    private = Ed25519PrivateKey.generate() if file is None else _read(file)
    raw = SigningKey("", private).public.raw
    name = name or f"kbsync-{hashlib.sha256(raw).hexdigest()[:8]}"
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot be a key's name", "use letters, digits, `.`, `/`, `-` and `_` only, at most 64"
        )
    return SigningKey(name, private)


def _store(app: Application, key: SigningKey) -> None:
    """Write the private half before the log names the key, unless a credential has it."""
    if has_private(app, key.public):
        return
    write_key(_file(app.home, key.public), key.private)


def _file(home: Home, key: PublicKey) -> Path:
    return home.keys / f"{key.name.replace('/', '_')}-{key.id.hex()}.pem"


def _private_keys(home: Home) -> Iterator[Ed25519PrivateKey]:
    """Every private key there is.  Raises BadConfiguration for one that others can read, or that is none."""
    for file in key_files(home.keys, CREDENTIAL):
        yield _read(file)


def _read(file: Path) -> Ed25519PrivateKey:
    found = read_key(file, "ed25519")
    if not isinstance(found, Ed25519PrivateKey):
        raise BadConfiguration(f"{file} is not an ed25519 key", "create one with `kbsync keys create`")
    return found
