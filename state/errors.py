"""What can go wrong with the ledger.

    StateError                    everything the ledger raises on purpose
    ├── Unavailable               the database cannot be used just now; nothing was written
    │   ├── Unreachable           no such place, no permission, no server, or no space: an operator must act
    │   └── Busy                  another process holds the write lock: try again
    ├── SchemaError               the tables are not the ones this code expects
    │   ├── NotMigrated           missing or older tables: migrate
    │   └── NewerSchema           made by a newer version: upgrade the program
    ├── Damaged                   the database file is not one, or is corrupt: restore a backup
    ├── Inconsistent              rows contradict each other, as after a change by hand
    ├── Unstorable                a text that no database can hold (NUL, lone surrogates)
    ├── AnchorMissing             there is no anchor file at that path
    ├── ArchiveMissing            a file of archived events is not in its directory
    ├── AnchorContradicted        an anchor file and the log disagree: one of them was rewritten
    ├── NameTaken                 a name that was given before and is not given again
    ├── NotFound                  no row with that id
    ├── StaleTransition           compare-and-set failed: somebody else moved the row first
    ├── ForbiddenTransition       the state machine has no such edge
    ├── SlotTaken                 Eqn. 5: the slot already wants another object
    ├── ViewBlocked               the view was rolled back and has not been released
    ├── GatesNotPassed            a candidate without a complete, passed gate report
    ├── NoLongerWanted            a candidate would newly state facts that are not wanted any more
    └── LeadershipError
        ├── LeaseHeld             another holder leads
        └── StaleLeader           the caller led once, but a newer generation exists

Wrong arguments (a naive datetime, an unknown status) are ValueErrors: they are the caller's bugs,
not conditions of the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from state.records import Fact


class StateError(Exception):
    """Base of everything the ledger raises on purpose."""


class Unavailable(StateError):
    """The database cannot be used now; nothing was written."""


class Unreachable(Unavailable):
    """The database cannot be opened or written: an operator must act."""


class Busy(Unavailable):
    """Another process held the write lock for longer than we wait."""


class SchemaError(StateError):
    """The tables are not the ones this code expects."""


class NotMigrated(SchemaError):
    """The tables are missing or older than this code."""


class NewerSchema(SchemaError):
    """The tables were made by a newer version of this program."""


class Damaged(StateError):
    """The file is not a database, or is corrupt."""


class Inconsistent(StateError):
    """The database refused a change because its rows contradict each other."""


class Unstorable(StateError):
    """A text has characters that no database can hold: NUL or lone surrogates."""


class AnchorMissing(StateError):
    """There is no anchor file at that path."""


class ArchiveMissing(StateError):
    """A file of archived events, which is needed, is not in its directory."""

    def __init__(self, file: str, directory: Path | None, *, ended: bool = False) -> None:
        self.file = file
        what = "which is not kept any more" if ended else f"which is not in {directory}: put it back"
        super().__init__(f"the events are archived in {file}, {what}")


class AnchorContradicted(StateError):
    """A witness and the log disagree: one of them was rewritten, or the ledger was restored."""

    def __init__(self, message: str, first_bad: int | None = None) -> None:
        """`first_bad`: the first event that the witness shows not to be the log's, where that is known."""
        super().__init__(message)
        self.first_bad = first_bad


class NameTaken(StateError):
    """A name that was given before: the audit log has it, so it is not given again."""


class NotFound(StateError):
    """No row with that id."""

    def __init__(self, what: str, id: int | str) -> None:
        super().__init__(f"there is no {what} {id} in the ledger")


class StaleTransition(StateError):
    """A compare-and-set found another state than expected: the row was changed in between."""

    def __init__(self, what: str, id: int, expected: str, found: str, to: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"{what} {id} was expected to be {expected!r} but is {found!r}: not moved to {to!r}; "
            "read it again and decide again"
        )


class ForbiddenTransition(StateError):
    """The state machine has no such edge."""

    def __init__(self, what: str, id: int, from_: str, to: str, allowed: tuple[str, ...]) -> None:
        ways = ", ".join(allowed) or "nothing: it is final"
        super().__init__(
            f"{what} {id} cannot go from {from_!r} to {to!r}; from {from_!r} it may become {ways}"
        )


class SlotTaken(StateError):
    """Eqn. 5 of the paper: one wanted object a (subject, relation)."""

    def __init__(self, subject: str, relation: str, wanted: str, offered: str) -> None:
        self.subject, self.relation = subject, relation
        super().__init__(
            f"slot ({subject}, {relation}) already wants {wanted}: {offered} cannot be wanted too; "
            "supersede or retract the older fact first, in the same transaction"
        )


class ViewBlocked(StateError):
    """The view was rolled back; it stays blocked until it is released."""

    def __init__(self, view: str, reason: str) -> None:
        super().__init__(
            f"view {view[:12]} is blocked ({reason}): release it before it can be promoted again"
        )


class GatesNotPassed(StateError):
    """A candidate may go live only with a gate report in which every gate passed."""

    def __init__(self, checkpoint: int, run: int, why: str) -> None:
        super().__init__(f"checkpoint {checkpoint} cannot be promoted: run {run} {why}")


class NoLongerWanted(StateError):
    """A candidate would newly state facts that were retracted, rejected or superseded since it was planned."""

    def __init__(self, checkpoint: int, facts: Sequence[Fact]) -> None:
        self.facts = tuple(facts)
        super().__init__(f"checkpoint {checkpoint} would state what is no longer wanted: {named(facts)}")


def named(facts: Sequence[Fact], most: int = 10) -> str:
    """Facts as a message names them, the first `most` in full."""
    texts = [
        f"fact {fact.id} ({fact.subject_label}, {fact.relation}, {fact.target}; {fact.status}: {fact.reason})"
        for fact in facts[:most]
    ]
    more = f" and {len(facts) - most} more" if len(facts) > most else ""
    return "; ".join(texts) + more


class LeadershipError(StateError):
    """Who may promote."""


class LeaseHeld(LeadershipError):
    """Another holder has the lease and it has not run out."""

    def __init__(self, name: str, holder: str, until: str) -> None:
        self.holder = holder
        super().__init__(
            f"lease {name!r} is held by {holder} until {until}: "
            "stop that daemon, or wait until its lease runs out"
        )


class StaleLeader(LeadershipError):
    """The caller's generation is not the newest: another daemon leads now."""

    def __init__(self, name: str, generation: int, current: str) -> None:
        super().__init__(
            f"lease {name!r} generation {generation} is stale ({current}): this process no longer leads, "
            "nothing was written"
        )
