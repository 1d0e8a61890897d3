"""The kind `symlink`, and the built-in `live` link, for servers that load a path.

A link cannot be asked what it serves, so the only evidence is the directory that it points to and the digest in
the manifest there.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from editing.durable import fsync_directory
from editing.errors import EditingError
from editing.storage.checkpoints import read_live
from kbsync.deployment.hooks import HookFailed, Version, mapped, version_in
from kbsync.errors import TryLater
from kbsync.home import Home
from kbsync.settings.deploy import SymlinkSettings
from state.records import Checkpoint


def observe_link(home: Home, promoted: Checkpoint) -> str:
    """The version that `live` points to; raises TryLater unless it is the promoted one, by name and digest."""
    observed = read_live_link(home)
    expected = Version.of(promoted, home.checkpoints).id
    if observed != expected:
        raise TryLater(
            f"{home.live} points to {observed or 'no checkpoint'}, not to the promoted {expected}",
            "the next cycle repairs the link",
        )
    return observed


def read_live_link(home: Home) -> str:
    """The version that `live` points to; empty if that is not a checkpoint of the same home."""
    text = read_live(home.checkpoints)
    return read_link(home.live) if text is not None and Path(text).name == text else ""


def read_link(link: Path) -> str:
    """The version that a link points to; empty if there is none, or if its manifest cannot be trusted."""
    try:
        return version_in(
            Path(os.path.realpath(link, strict=True))
        )  # `Path.resolve` has no OSError for a loop
    except (OSError, EditingError):
        return ""


class SymlinkHook:
    """A link at any path, switched by an atomic rename: a reader always sees the old or the new checkpoint."""

    def __init__(self, settings: SymlinkSettings) -> None:
        self.settings = settings

    def deploy(self, version: Version) -> None:
        link = self.settings.path
        temporary = link.with_name(f".{link.name}-{os.getpid()}-{secrets.token_hex(4)}")
        if link.exists() and not link.is_symlink():
            raise HookFailed(f"{link} is not a symbolic link", "move it away: it will not be replaced")
        try:
            temporary.symlink_to(mapped(version.path, self.settings.paths))
            temporary.replace(link)
            fsync_directory(link.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise HookFailed(
                f"cannot switch {link}: {error.strerror or error}",
                "does its directory exist, and is it ours?",
            ) from error

    def observed_version(self) -> str | None:
        """The version in the manifest that the link leads to, found under our own name for that path."""
        link = self.settings.path
        if not link.is_symlink():
            return ""
        return read_link(
            Path(mapped(link.readlink(), {theirs: ours for ours, theirs in self.settings.paths.items()}))
        )

    def rollback(self, version: Version) -> None:
        self.deploy(version)
