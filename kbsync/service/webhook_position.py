"""How far a receiver of notifications is in the audit log: a small file in the home, written after each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from editing.durable import make_directory, write_file
from kbsync.home import PRIVATE

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to `after` was accepted, and the next notification has failed `attempts` times."""

    instance: str
    """Of the ledger."""
    after: int
    """Sequence number of an event."""
    attempts: int = 0
    since: datetime | None = None
    """The first failure of the next notification."""
    due: datetime | None = None
    """When it is tried again."""
    error: str = ""
    stale: Mapping[str, str] = field(default_factory=dict)
    """The last success of each source that was reported as stale."""

    def at(self, seq: int) -> Position:
        """Further on in the log."""
        return Position(self.instance, seq, stale=self.stale)

    def noted(self, source: str, last_success: str) -> Position:
        """After the report that a source is stale."""
        return Position(self.instance, self.after, stale={**self.stale, source: last_success})

    def failed(self, error: str, now: datetime, wait: timedelta) -> Position:
        """After one more failure."""
        since = self.since if self.since is not None else now
        return replace(self, attempts=self.attempts + 1, since=since, due=now + wait, error=error[:1_000])

    def as_of(self, now: datetime) -> Position:
        """Without instants later than a failure can have been: the clock was ahead, and was corrected."""
        if self.since is None or self.since <= now:
            return self
        return replace(self, since=now, due=now)

    def write(self, file: Path) -> None:
        """Raises editing.errors.StorageError."""
        make_directory(file.parent)
        write_file(file, POSITIONS.dump_json(self), mode=PRIVATE)

    @classmethod
    def read(cls, file: Path) -> Position | None:
        """None if there is none; a file that cannot be read is logged and counts as none."""
        try:
            return POSITIONS.validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            log.error("webhook.position_lost", file=str(file), reason=str(error))
            return None


POSITIONS = TypeAdapter(Position)
