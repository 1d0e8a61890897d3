"""The interface of a deploy hook: three operations, and the ways in which they fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol, runtime_checkable

from editing.storage.manifest import read_manifest
from kbsync.errors import KbsyncError
from kbsync.visible import visible
from state.records import Checkpoint


class HookFailed(KbsyncError):
    """A server did not do what was asked, or did not answer; the deployment is tried again later."""

    exit_code: ClassVar[int] = 75


class ServerUnreachable(HookFailed):
    """The server could not be reached: it did not receive the request."""


class LoadFailed(HookFailed):
    """The server tried to load the weights and failed: it is unknown what it serves now.

    The hook is then asked explicitly to return to the previous version.
    """


@dataclass(frozen=True, slots=True)
class Version:
    """One checkpoint, in the form in which servers are notified of it."""

    id: str
    """`<run>-<round>@<first 12 digits of the digest>`; run and round alone are not unique across homes."""
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
    """The version in a checkpoint directory, from its manifest; raises DamagedCheckpoint."""
    return version_id(directory.name, read_manifest(directory).digest)


LONGEST_VERSION = 200
"""Maximum length of a version's name; kbsync's have about 20 characters."""


def version_named(text: str) -> str | None:
    """The version in a server's answer; None if it names none.

    Raises HookFailed if the text cannot be a name: too long, or with unprintable characters.
    """
    name = text.removeprefix("\ufeff").strip()
    if len(name) > LONGEST_VERSION or not name.isprintable():
        raise HookFailed(f"the server names no version: {visible(name, 60)!r}")
    return name or None


class Hook(Protocol):
    """One server, or group of servers, that serves checkpoints.

    Calls may be repeated after a crash, so each operation must be idempotent.
    """

    def deploy(self, version: Version) -> None:
        """Make the server serve `version`; raises HookFailed, or LoadFailed if the state of the weights is unknown."""
        ...

    def observed_version(self) -> str | None:
        """The id of the version that the server reports; None if it cannot name one.

        Raises HookFailed when it cannot be asked.
        """
        ...

    def rollback(self, version: Version) -> None:
        """Make the server serve `version`, which it served before; raises as `deploy` does."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where answers can be asked for."""

    url: str
    """Base URL of an OpenAI-compatible server."""
    model: str | None
    """`model` of the requests; None: the first one that the server lists."""


@runtime_checkable
class Placed(Protocol):
    """A hook that knows every place at which a version answers."""

    def places(self, version: Version | None) -> Sequence[Endpoint]:
        """The places at which `version` answers; None: those at which clients' requests are answered now.

        Raises HookFailed if they cannot be found.
        """
        ...


@runtime_checkable
class Routed(Placed, Protocol):
    """A hook that directs traffic to a version only once it was confirmed."""

    def share(self, version: Version) -> bool:
        """Direct the share `canary` of the traffic to `version`; False if no share is asked for, or nobody has all of
        it now."""
        ...

    def release(self, version: Version) -> None:
        """Direct all traffic to `version`."""
        ...

    def withdraw(self, version: Version) -> None:
        """Direct no traffic to `version` any more, but all of it where it went before."""
        ...

    def tidy(self) -> None:
        """Unload what has had no traffic for `drain_for`; raises HookFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """The limits of a hook's call: how long it may take, and whether its result is still needed."""

    timeout_s: float
    """Longest silence on a socket, or longest time of a program."""
    abandoned: threading.Event
    """Set when the result is no longer needed: a hook that can stop early does."""


def mapped(path: Path, prefixes: Mapping[str, str]) -> str:
    """`path` as the server sees it: its longest prefix in `prefixes` is replaced."""
    for ours in sorted(prefixes, key=lambda prefix: len(Path(prefix).parts), reverse=True):
        if path.is_relative_to(ours):
            return str(PurePosixPath(prefixes[ours]) / path.relative_to(ours))
    return str(path)
