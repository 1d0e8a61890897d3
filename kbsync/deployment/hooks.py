"""What a deploy hook is: three operations, and the ways in which they fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

from editing.storage.manifest import read_manifest
from kbsync.errors import KbsyncError
from kbsync.visible import visible
from state.records import Checkpoint


class HookFailed(KbsyncError):
    """A server did not do, or did not say, what was asked; the deployment is tried again later."""

    exit_code: ClassVar[int] = 75


class ServerUnreachable(HookFailed):
    """The server could not be reached: it has not received the request."""


class LoadFailed(HookFailed):
    """The server tried to load the weights and could not: what it serves now is in doubt.

    Its hook is asked to go back to the version before, explicitly.
    """


@dataclass(frozen=True, slots=True)
class Version:
    """One checkpoint as servers are notified of it."""

    id: str
    """`<run>-<round>@<first 12 digits of the digest>`: the name alone could mean another home's bytes."""
    path: Path
    """The checkpoint's directory on this machine."""
    digest: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, root: Path) -> Version:
        """`root` is `<home>/checkpoints`."""
        return cls(version_id(checkpoint.path, checkpoint.digest), root / checkpoint.path, checkpoint.digest)


def version_id(name: str, digest: str) -> str:
    return f"{name}@{digest[:12]}"


def version_in(directory: Path) -> str:
    """The version that lies in a checkpoint directory, by its manifest; raises DamagedCheckpoint."""
    return version_id(directory.name, read_manifest(directory).digest)


LONGEST_VERSION = 200
"""Characters of a version's name; ours have about 20."""


def version_named(text: str) -> str | None:
    """What a server calls the version it serves, from text that it sent; None where it names none.

    Raises HookFailed for text that can be no name: too long, or with characters that cannot be printed.
    """
    name = text.removeprefix("\ufeff").strip()
    if len(name) > LONGEST_VERSION or not name.isprintable():
        raise HookFailed(f"the server names no version: {visible(name, 60)!r}")
    return name or None


class Hook(Protocol):
    """One server, or group of servers, that serves checkpoints.

    Calls may be repeated after a crash: each verb leaves the same state when it is called twice.
    """

    def deploy(self, version: Version) -> None:
        """Make the server serve `version`; raises HookFailed, or LoadFailed where weights are in doubt."""
        ...

    def observed_version(self) -> str | None:
        """The id of the version the server says it serves; None where it can name none.

        Raises HookFailed when it cannot be asked.
        """
        ...

    def rollback(self, version: Version) -> None:
        """Make the server serve `version`, which it served before; raises as `deploy` does."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """What surrounds every call of a hook: how long it may take, and whether anybody still waits for it."""

    timeout_s: float
    """Longest silence on a socket, or longest time of a program."""
    abandoned: threading.Event
    """Set when nobody waits any more: a hook that can stop early does."""


def mapped(path: Path, prefixes: Mapping[str, str]) -> str:
    """`path` as the server sees it: its longest prefix in `prefixes` replaced, else as it is."""
    for ours in sorted(prefixes, key=lambda prefix: len(Path(prefix).parts), reverse=True):
        if path.is_relative_to(ours):
            return str(PurePosixPath(prefixes[ours]) / path.relative_to(ours))
    return str(path)
