"""The routing table: which adapter clients get that ask for the alias, in a file that a gateway reads.

    {"alias": "kb",
     "servers": ["http://gpu-1:8000", "http://gpu-2:8000"],
     "targets": [{"model": "kb-3-1@9f86d081884c", "weight": 1.0, …}],
     "leaving": [{"model": "kb-2-1@60303ae22b99", "since": "2026-03-01T12:00:00+00:00", …}],
     "loading": []}

`model` is what a request has to name.  The file is replaced atomically.  It is also the hook's memory of the adapters
that it has loaded: nothing else is ever unloaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from editing.durable import write_file
from editing.errors import EditingError
from editing.json_decode import decode
from kbsync.deployment.hooks import HookFailed


@dataclass(frozen=True, slots=True)
class Route:
    """An adapter that is loaded, and the share of the traffic that it gets."""

    model: str
    """What a request names."""
    adapter: str
    """Its name on the servers."""
    version: str
    weight: float = 0.0
    since: str = ""
    """When it lost its traffic (ISO 8601)."""
    proven: bool = True
    """Whether its answers were those of its version."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The table."""

    alias: str = ""
    servers: tuple[str, ...] = ()
    targets: tuple[Route, ...] = ()
    """Those with traffic; the first is the one that others are compared with."""
    leaving: tuple[Route, ...] = ()
    """Those that wait until requests in flight have ended."""
    loading: tuple[Route, ...] = ()
    """Those that are loaded and not confirmed yet."""

    @property
    def main(self) -> Route | None:
        """The adapter that clients get, unless they are the share that tries a new one."""
        return self.targets[0] if self.targets else None

    def known(self) -> Iterator[Route]:
        """All adapters that were loaded, as far as they were not unloaded again."""
        yield from (*self.targets, *self.leaving, *self.loading)

    def with_loading(self, route: Route) -> Routes:
        """`route` is loaded now; it is not to be unloaded any more."""
        others = without(self.loading, route)
        return replace(self, leaving=without(self.leaving, route), loading=(*others, route))

    def directed(self, targets: Iterable[Route], now: datetime, *, proven: bool = True) -> Routes:
        """All traffic goes to `targets`; those that lose it leave, `proven` or not."""
        chosen = tuple(targets)
        names = {route.adapter for route in chosen}
        lost = [
            replace(route, weight=0.0, since=now.isoformat(), proven=proven)
            for route in self.targets
            if route.adapter not in names
        ]
        kept = [route for route in self.leaving if route.adapter not in names]
        loading = tuple(route for route in self.loading if route.adapter not in names)
        return replace(self, targets=chosen, leaving=(*kept, *lost), loading=loading)

    def gone(self, adapters: Iterable[str]) -> Routes:
        """These were unloaded."""
        names = frozenset(adapters)
        return replace(
            self,
            leaving=tuple(route for route in self.leaving if route.adapter not in names),
            loading=tuple(route for route in self.loading if route.adapter not in names),
        )


def without(routes: Iterable[Route], route: Route) -> tuple[Route, ...]:
    """The routes of other adapters."""
    return tuple(one for one in routes if one.adapter != route.adapter)


def read_routes(path: Path) -> Routes:
    """The table in the file; an empty one if there is no file.  Raises HookFailed if it cannot be read."""
    try:
        return decode(Routes, json.loads(path.read_bytes()), path.name)
    except FileNotFoundError:
        return Routes()
    except (OSError, ValueError, EditingError) as error:
        raise HookFailed(
            f"the routing table {path} cannot be read: {error}", "delete it: it is written again"
        ) from error


def write_routes(path: Path, routes: Routes) -> None:
    """Replace the file; raises HookFailed."""
    try:
        write_file(path, json.dumps(asdict(routes), indent=1).encode() + b"\n")
    except EditingError as error:
        raise HookFailed(str(error), "does its directory exist, and may kbsync write to it?") from error
