"""Versions as people name them: a checkpoint's number, `live`, `base`, or a date."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.versions.past import Time, facts_at
from state.records import Checkpoint, Fact

_NUMBER = re.compile(r"[0-9]{1,18}")
Parse = Callable[[str], datetime]
"""What turns a date as it was typed into an instant; raises UsageError."""


@dataclass(frozen=True, slots=True)
class Version:
    """A set of facts that a model is, or can be, built from."""

    name: str
    facts: tuple[Fact, ...]
    """Sorted by key; those that the base states unedited are among them."""
    base: str | None
    """Digest of the base it was built from; None: the configured one."""
    checkpoint: Checkpoint | None = None
    directory: Path | None = None
    """Where its weights are, if they are kept."""
    at: datetime | None = None
    """Of a date: the instant."""


def version(app: Application, text: str, parse: Parse, time: Time = "world") -> Version:
    """The version that `text` names.  Raises UsageError, and state.errors.NotFound for an unknown number."""
    if text == "base":
        return Version("the base", (), None, directory=app.base.directory)
    if text == "live" or _NUMBER.fullmatch(text):
        with app.state.read() as tx:
            found = tx.live() if text == "live" else tx.checkpoint(int(text))
        if found is None:
            raise UsageError("there is no live checkpoint", "name a version by its number or a date")
        return of_checkpoint(app, found)
    try:
        at = parse(text)
    except UsageError as error:
        raise UsageError(
            f"{text!r} names no version",
            "write a checkpoint's number, `live`, `base`, or a date such as 2026-05-01",
        ) from error
    return Version(f"{at:%Y-%m-%d %H:%M}", facts_at(app, at, time), None, at=at)


def of_checkpoint(app: Application, checkpoint: Checkpoint) -> Version:
    """A checkpoint of the ledger as a version, whether or not its directory is kept."""
    with app.state.read() as tx:
        facts, live = tx.view_facts(checkpoint.view), tx.live()
    directory = app.home.checkpoint(checkpoint.path)
    kept = checkpoint.collected is None and directory.is_dir()
    is_live = live is not None and live.id == checkpoint.id
    name = f"checkpoint {checkpoint.id}{' (live)' if is_live else ''}"
    return Version(name, facts, checkpoint.base, checkpoint, directory if kept else None)
