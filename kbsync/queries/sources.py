"""`kbsync sources`: the state of each source, and what remains of sources and namespaces no longer configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.namespaces import WIKIDATA
from kbsync.application import Application
from state import State, StateError
from state.ledger import Snapshot
from state.records import FactStatus, SourceHealth

OPEN = ("wanted", "held", "quarantined")


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source, in the settings or not."""

    name: str
    kind: str
    """As configured; empty if the source is no longer in the settings."""
    last_success: datetime | None
    last_error: str
    last_failure: datetime | None
    failures: int
    """Consecutive errors since the last success."""
    asked_again: datetime | None
    """After errors: when it is asked again."""
    rejected: int
    """Rows of the latest reading that could not be used."""
    reject: str
    """Where the first rejected row is, and what is wrong with it."""
    slots: int
    """Slots that were ever read from it."""
    facts: Mapping[str, int] = field(default_factory=dict)
    """Facts that it states, by status."""
    strange: Mapping[str, int] = field(default_factory=dict)
    """Slots by subject prefix, for prefixes that its settings do not name."""

    @property
    def open_facts(self) -> int:
        return sum(self.facts.get(status, 0) for status in OPEN)

    def how(self) -> str:
        """Its state, in one line."""
        if not self.kind:
            return (
                f"not in the settings; {self.slots} slots and {self.open_facts} facts of it still count: "
                f"`kbsync sources forget {self.name}` or `kbsync sources rename {self.name} NEW`"
            )
        counts = f"{self.slots} slots, {self.facts.get('wanted', 0)} wanted facts"
        if self.failures:
            since = f"last read {_when(self.last_success)}" if self.last_success else "never read"
            again = f", asked again after {_when(self.asked_again)}" if self.asked_again else ""
            return (
                f"unavailable ({self.failures} errors in a row): {self.last_error}; {since}{again}; {counts}"
            )
        return f"last read {_when(self.last_success)}; {counts}" if self.last_success else "never read"

    def notices(self) -> Iterator[str]:
        """What an operator should check, and how to resolve it."""
        if self.rejected and self.kind:
            yield f"{self.rejected} rows of the latest reading were rejected: {self.reject}"
        for prefix, slots in sorted(self.strange.items()):
            yield (
                f"{slots} slots of `{prefix}:`, which its settings do not name, still count: if the namespace was "
                f"renamed, `kbsync sources forget {self.name} --namespace {prefix}`"
            )


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What has to be counted of the sources; by source."""

    facts: Mapping[str, Mapping[FactStatus, int]]
    """Facts by status."""
    watched: Mapping[str, int]
    """Slots that it was ever read for."""
    namespaces: Mapping[str, Mapping[str, int]]
    """Slots by the prefix of their subject; empty if every source names every prefix that there is."""


def count_sources(app: Application, tx: Snapshot) -> SourceCounts:
    """Count now."""
    return SourceCounts(tx.count_source_facts(), tx.count_watched(), _namespaces(app, tx))


def source_states(
    app: Application, tx: Snapshot, counts: SourceCounts | None = None
) -> tuple[SourceState, ...]:
    """The configured sources in the settings' order, then those that only the ledger knows.

    `counts`: what was counted before; without it, everything is counted now.
    """
    counted = counts or count_sources(app, tx)
    facts, watched, namespaces = counted.facts, counted.watched, counted.namespaces
    health, configured = tx.source_health(), app.settings.sources
    left = sorted(name for name in watched if name not in configured)
    states = []
    for name in (*configured, *left):
        settings, seen = configured.get(name), health.get(name, SourceHealth(name))
        states.append(
            SourceState(
                name,
                kind=str(settings.get("kind", "?")) if settings is not None else "",
                last_success=seen.succeeded,
                last_error=seen.error,
                last_failure=seen.failed,
                failures=seen.failures,
                asked_again=seen.retry,
                rejected=seen.rejected,
                reject=seen.reject,
                slots=watched.get(name, 0),
                facts={str(status): count for status, count in facts.get(name, {}).items()},
                strange=_strange(settings, namespaces.get(name, {})),
            )
        )
    return tuple(states)


def _namespaces(app: Application, tx: Snapshot) -> Mapping[str, Mapping[str, int]]:
    """Slots by source and prefix; empty if every source names every prefix that there is."""
    present = dict.fromkeys(tx.subject_prefixes(), 1)
    if not any(_strange(settings, present) for settings in app.settings.sources.values()):
        return {}
    return tx.count_namespaces()


def left_over(app: Application) -> Iterator[str]:
    """Report what the ledger has of sources and namespaces that are no longer configured.

    For `config check`: the ledger is neither created nor migrated, and without one there is nothing to report.
    """
    url = app.settings.database_url(app.home)
    if app.settings.state.url is None and not app.home.database.exists():
        return
    try:
        state = State.open(url, clock=app.now)
        state.check_migrated()
        with state.read() as tx:
            found = source_states(app, tx)
        state.close()
    except StateError as error:
        yield f"the ledger was not compared with the sources: {error}"
        return
    for one in found:
        if not one.kind:
            yield f"source {one.name}: {one.how()}"
        yield from (f"source {one.name}: {notice}" for notice in one.notices())


def _strange(settings: Mapping[str, Any] | None, found: Mapping[str, int]) -> dict[str, int]:
    """The prefixes among `found` that the source's settings do not name.

    Ids may contain a prefix, so a source without `namespace` may have any prefix.
    """
    if settings is None or not (settings.get("namespace") or settings.get("kind", "").startswith("wikidata")):
        return {}
    named = {
        *WIKIDATA,
        *settings.get("prefixes", ()),
        settings.get("namespace"),
        settings.get("entity_prefix"),
    }
    return {prefix: slots for prefix, slots in found.items() if prefix not in named}


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "never"
