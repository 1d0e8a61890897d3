"""The keys that sign versions of the model: elliptic-curve keys in the home, or a systemd credential.

The OpenSSF model-signing format has no ed25519 signatures, so these keys are not those of the audit log.  The log
states every public half, and which key signs now.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from kbsync.application import Application
from kbsync.errors import BadConfiguration, NoInput, UsageError
from kbsync.home import Home
from kbsync.private_keys import key_files, read_key, write_key
from state.model_keys import KINDS, ModelKey, ModelKeys

CREDENTIAL = "kbsync-model-key"
"""The systemd credential (`LoadCredential=`) that holds a key as PEM."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""The curves that model-signing verifies; a new key is on the first."""

_KIND = "elliptic-curve"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def fingerprint_of(pem: str) -> str:
    """SHA-256 of a public key's PEM text, as signatures name it."""
    return hashlib.sha256(pem.encode()).hexdigest()


def known(app: Application) -> ModelKeys:
    """Every key that the ledger knows."""
    with app.state.read() as tx:
        return ModelKeys.of(tx.events(kind=KINDS))


def signer(app: Application) -> tuple[ModelKey, Path] | None:
    """The key that signs now and the file with its private half; None if there is no key.

    Raises BadConfiguration if the private half is neither in the home nor a credential.
    """
    active = known(app).active()
    if active is None:
        return None
    for file, pem in _private_keys(app.home):
        if fingerprint_of(pem) == active.fingerprint:
            return active, file
    raise BadConfiguration(
        f"the private half of the model key {active.name} is neither in {app.home.model_keys} nor the "
        f"credential {CREDENTIAL}",
        "put its file back, or revoke it and create another: `kbsync keys revoke --for models`",
    )


def obstacles(app: Application) -> Iterator[tuple[str, str]]:
    """What keeps versions from being signed although the settings require it, each with advice."""
    if not app.settings.signing.required:
        return
    if find_spec("model_signing") is None:
        yield "signatures of models need the package model-signing", "`pip install 'kbsync[sign]'`"
    has_ledger = app.settings.state.url is not None or app.home.database.exists()
    if has_ledger and signer(app) is None:
        advice = "create one with `kbsync keys create --for models`"
        yield "there is no key to sign versions with, so none can go live", advice


def create(app: Application, name: str | None, file: Path | None, actor: str) -> ModelKey:
    """Make the first key, or the next one after the last was revoked.  `file`: an existing key (PEM).

    Raises UsageError if a key signs already.
    """
    if (active := known(app).active()) is not None:
        raise UsageError(
            f"{active.name} signs already", "replace it with `kbsync keys rotate`, or revoke it first"
        )
    return _record(app, name, file, actor)


def rotate(app: Application, name: str | None, file: Path | None, actor: str) -> ModelKey:
    """Replace the key that signs; what it signed stays valid.  Raises UsageError if there is none."""
    previous = known(app).active()
    if previous is None:
        raise UsageError("no key signs yet", "create one with `kbsync keys create --for models`")
    return _record(app, name, file, actor, previous)


def revoke(app: Application, name: str, reason: str, actor: str) -> ModelKey:
    """Make every signature of a key invalid, and delete its file from the home.

    Raises UsageError if there is no such key, or if it is revoked already.
    """
    found = named(app, name)
    if found.revoked is not None:
        raise UsageError(f"{found.name} was revoked by event {found.revoked}", "see `kbsync keys list`")
    with app.state.write() as tx:
        body = {"name": found.name, "fingerprint": found.fingerprint, "reason": reason}
        tx.emit("model_key.revoked", actor, body)
    _file(app.home, found.fingerprint).unlink(missing_ok=True)
    return found


def named(app: Application, name: str | None) -> ModelKey:
    """A key by its name or fingerprint; None: the one that signs.  Raises UsageError."""
    all_keys = known(app)
    matches = [one for one in all_keys.keys.values() if name in (one.name, one.fingerprint)]
    found = all_keys.active() if name is None else (matches[-1] if matches else None)
    if found is None:
        others = ", ".join(one.name for one in all_keys.keys.values()) or "none"
        raise UsageError(
            f"there is no model key {name}" if name else "no model key signs", f"known: {others}"
        )
    return found


def has_private(app: Application, fingerprint: str) -> bool:
    """Whether this home, or a credential, has the private half."""
    return any(fingerprint_of(pem) == fingerprint for _, pem in _private_keys(app.home))


def read_public(file: Path) -> str:
    """The PEM text of a public key in a file.  Raises NoInput or BadConfiguration."""
    if not file.is_file():
        raise NoInput(f"there is no file {file}", "name the PEM file that `kbsync keys show` printed")
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise BadConfiguration(f"{file} is not a public key in PEM: {error}", "name the PEM file") from error
    return _checked(key, file)


def _record(
    app: Application, name: str | None, file: Path | None, actor: str, previous: ModelKey | None = None
) -> ModelKey:
    """A new key, or the one in `file`: its private half is stored before the log names it."""
    private = ec.generate_private_key(ec.SECP256R1()) if file is None else _read(file)
    pem = _checked(private.public_key(), file)
    fingerprint = fingerprint_of(pem)
    name = name or f"kbsync-{fingerprint[:8]}"
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot be a key's name", "use letters, digits, `.`, `-` and `_` only, at most 64"
        )
    if any(name == one.name or fingerprint == one.fingerprint for one in known(app).keys.values()):
        raise UsageError(f"the key {name} is in the log already", "see `kbsync keys list`")
    if not has_private(app, fingerprint):
        write_key(_file(app.home, fingerprint), private)
    with app.state.write() as tx:
        body = {"name": name, "fingerprint": fingerprint, "key": pem}
        if previous is None:
            tx.emit("model_key.created", actor, body)
        else:
            tx.emit("model_key.rotated", actor, {**body, "previous": previous.fingerprint})
    return named(app, fingerprint)


def _file(home: Home, fingerprint: str) -> Path:
    return home.model_keys / f"{fingerprint}.pem"


def _private_keys(home: Home) -> Iterator[tuple[Path, str]]:
    """The file of every private key that there is, with the PEM text of its public half."""
    for file in key_files(home.model_keys, CREDENTIAL):
        yield file, _checked(_read(file).public_key(), file)


def _read(file: Path) -> ec.EllipticCurvePrivateKey:
    found = read_key(file, _KIND)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise BadConfiguration(
            f"{file} is not an {_KIND} key", "create one with `kbsync keys create --for models`"
        )
    return found


def _checked(key: object, file: Path | None) -> str:
    """The PEM text of a public key on one of the curves; raises BadConfiguration for another kind of key."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise BadConfiguration(
            f"the key in {file} is not on a curve that model-signing verifies",
            f"use a key on one of {', '.join(CURVES)}",
        )
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
