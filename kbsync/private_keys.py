"""Private keys in PEM files that only their owner can read, or that systemd hands over as credentials; secrets."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from editing.durable import write_file
from kbsync.errors import BadConfiguration, NoInput
from kbsync.home import PRIVATE


def key_files(directory: Path, credential: str) -> Iterator[Path]:
    """The credential of that name, if systemd gave one, then every key in `directory`.

    Raises BadConfiguration for a file that others can read.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (given := Path(credentials) / credential).is_file():
        yield given
    for file in sorted(directory.glob("*.pem")):
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise BadConfiguration(
                f"the signing key {file} can be read by others", f"revoke it, or at least: chmod 600 {file}"
            )
        yield file


def read_key(file: Path, kind: str) -> PrivateKeyTypes:
    """The unencrypted private key in a PEM file.

    Raises NoInput if there is no such file, BadConfiguration, which names the `kind` that is expected, for another.
    """
    try:
        return load_pem_private_key(file.read_bytes(), None)
    except FileNotFoundError as error:
        raise NoInput(f"there is no key {file}", "name an unencrypted PEM file") from error
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadConfiguration(
            f"{file} cannot be read as an {kind} private key: {error}", "name an unencrypted PEM file"
        ) from error


def write_key(file: Path, key: PrivateKeyTypes) -> None:
    """Write the key so that only its owner can read it; the directory is created if it is missing."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=PRIVATE)


def read_secret(file: Path) -> bytes:
    """The secret in `file`, 32 random bytes that are drawn if there is no such file.

    Raises BadConfiguration if others can read the file, or if it holds no secret.
    """
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(file, f"{secrets.token_hex(32)}\n".encode(), mode=PRIVATE)
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise BadConfiguration(f"the secret {file} can be read by others", "remove it: another is drawn")
        return bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"{file} holds no secret: {error}", "remove it: another is drawn, with the next version"
        ) from error
