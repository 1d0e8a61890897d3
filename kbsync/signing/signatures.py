"""Signatures of model directories in the OpenSSF model-signing format, made and verified by the package of that name.

A signature (`model.sig`) is a Sigstore bundle: an in-toto statement of the SHA-256 of every file, signed with an
elliptic-curve key.  No service and no network is involved.  https://github.com/sigstore/model-transparency

Files are hashed by the caller, so that digests which are known are not computed again.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature

from editing.durable import open_regular
from kbsync.errors import BadConfiguration, BadData

if TYPE_CHECKING:
    from model_signing import hashing

SIGNATURE = "model.sig"
"""The signature's file name within the directory; it is the only file that is not covered."""
_SIGNATURE_BYTES = 64 << 20
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError)
"""What reading a signature raises if it is not one."""


class NotSigned(BadData):
    """The directory has no signature."""


class BadSignature(BadData):
    """The signature is not one, or none by a key that is trusted."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The contents of a signature that verifies."""

    key: str
    """The fingerprint of the key."""
    files: dict[str, str]
    """File -> SHA-256."""


def sign(name: str, files: Mapping[str, str], key: Path) -> bytes:
    """The signature of a directory with these files (path -> SHA-256); `key` is the file of the private key.

    `name` is for information only.  Raises BadConfiguration if model-signing is not installed.
    """
    signing = _library("signing")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / SIGNATURE
        config = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(_known(files))
        config.sign(Path(place) / name, file)
        return file.read_bytes()


def fingerprint_in(file: Path) -> str | None:
    """The key that a signature names, unverified; None if the file is missing or is no signature."""
    try:
        return str(_bundle(file)["verificationMaterial"]["publicKey"]["hint"])
    except _MALFORMED:
        return None


def read_signature(file: Path, keys: Mapping[str, str]) -> Signed:
    """What the signature in `file` covers, if one of `keys` (fingerprint -> PEM) made it.

    Raises NotSigned or BadSignature, and BadConfiguration if model-signing is not installed.
    """
    verifying = _library("verifying")
    if not os.path.lexists(file):
        raise NotSigned(
            f"{file.parent} is not signed: it has no {SIGNATURE}", "`kbsync keys create --for models`"
        )
    hint = fingerprint_in(file)
    if hint is None:
        raise BadSignature(f"{file} is not a signature in the model-signing format", "restore the directory")
    if hint not in keys:
        raise BadSignature(
            f"{file} was made with the key {hint[:16]}…, which is not trusted here",
            f"trusted: {', '.join(f'{one[:16]}…' for one in keys) or 'none'}; see `kbsync keys list`",
        )
    try:
        files = _files_in(_bundle(file))
        with tempfile.TemporaryDirectory() as place:
            public = Path(place) / "key.pem"
            public.write_text(keys[hint])
            config = verifying.Config().use_elliptic_key_verifier(public_key=public)
            config.set_hashing_config(_known(files)).verify(file.parent, file)
    except (*_MALFORMED, InvalidSignature) as error:
        reason = f": {error}" if str(error) else ""
        raise BadSignature(
            f"{file} does not verify with the key {hint[:16]}…{reason}",
            "it was altered: restore the directory",
        ) from error
    return Signed(hint, files)


def _bundle(file: Path) -> dict[str, Any]:
    with open_regular(file) as opened:
        found = json.loads(opened.read(_SIGNATURE_BYTES))
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _files_in(bundle: Mapping[str, Any]) -> dict[str, str]:
    """The files that a bundle states; the library confirms that this is what was signed."""
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
    predicate = statement["predicate"]
    how = predicate["serialization"]
    if (how["method"], how["hash_type"]) != ("files", "sha256") or how.get("ignore_paths") != [SIGNATURE]:
        raise ValueError("it was not made by kbsync: it covers something else than the SHA-256 of every file")
    return {str(one["name"]): str(one["digest"]) for one in predicate["resources"]}


def _known(files: Mapping[str, str]) -> hashing.Config:
    """A hashing configuration of model-signing that gives these digests instead of reading the files."""
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest

    how = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]}

    class Known(hashing.Config):  # type: ignore[misc]
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> manifest.Manifest:
            items = [
                manifest.FileManifestItem(
                    path=PurePosixPath(name), digest=Digest("sha256", bytes.fromhex(digest))
                )
                for name, digest in files.items()
            ]
            return manifest.Manifest(Path(model_path).name, items, manifest.SerializationType.from_args(how))

    return Known()


def _library(module: str) -> Any:
    """A module of the package model-signing, imported only where it is needed: it takes a second."""
    try:
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise BadConfiguration(
            f"signatures of models need the package model-signing ({error})",
            "install it with `pip install 'kbsync[sign]'`",
        ) from error
    return getattr(model_signing, module)
