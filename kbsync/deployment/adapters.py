"""Adapters beside one base: every version under a name of its own, and a routing table for the clients' one name.

An adapter is loaded as `<home>-<version>`, on every replica, while the last one goes on answering.  Once its answers
are those that were judged, the routing table directs traffic to it, a share of it first if `canary` says so; the
last one is unloaded after `drain_for`, when requests in flight have ended.  An adapter whose answers were wrong is
loaded again as `<name>~2`, since prefix caches are kept by name.

A server that was restarted has forgotten its adapters: `observed_version` shows it, and the next `deploy` loads what is
missing under the name that clients are directed to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from kbsync.deployment.hooks import Call, Endpoint, HookFailed, Version, mapped
from kbsync.deployment.http import Server
from kbsync.deployment.lora_servers import LoraServer
from kbsync.deployment.replicas import each, failure, named, replicas_of
from kbsync.deployment.routes import Route, Routes, read_routes, write_routes
from kbsync.settings.servers import ServerSettings

FOLDER = "adapter"
"""The adapter's folder in a checkpoint."""
_CONFIG = "adapter_config.json"

Loaded = Mapping[str, Mapping[str, str]]
"""Where adapters are loaded → name → path."""


class AdapterHook:
    """Adapters on all replicas of a server."""

    def __init__(
        self,
        settings: ServerSettings,
        call: Call,
        now: Callable[[], datetime],
        kind: Callable[[Server], LoraServer],
    ) -> None:
        assert settings.routes is not None  # the settings require it
        self.settings = settings
        self.routes: Path = settings.routes
        self.call = call
        self.now = now
        self.kind = kind
        self._deployed: Route | None = None

    def deploy(self, version: Version) -> None:
        """Load the version on every replica that lacks it; those that fail are named, after all were tried."""
        require_adapter(version)
        stores = self.stores()
        loaded, errors = each(stores, lambda store: self.server(store).loaded())
        if not loaded:
            raise failure(errors, len(stores))
        table = read_routes(self.routes)
        home = self.settings.alias or home_name(version)
        known: Loaded = {store: loaded.get(store, {}) for store in stores}
        adapter = chosen_name(f"{home}-{version.id}", version.id, table, known)
        route = Route(self.server(next(iter(loaded))).model(adapter), adapter, version.id)
        routed = any(one.adapter == adapter for one in table.targets)
        table = replace(table, alias=home, servers=self.replicas())
        table = self._without_failed(table, adapter)
        write_routes(self.routes, table if routed else table.with_loading(route))
        path = mapped(version.path / FOLDER, self.settings.paths)
        lacking = [store for store, names in loaded.items() if adapter not in names]
        if lacking:
            _, failed = each(lacking, lambda store: self.server(store).load(adapter, path))
            errors = {**errors, **failed}
        self._deployed = route
        if errors:
            raise failure(errors, len(stores))

    def rollback(self, version: Version) -> None:
        self.deploy(version)

    def observed_version(self) -> str | None:
        """The version that clients are directed to, or that was loaded just now, if all replicas have it."""
        route = self._deployed or read_routes(self.routes).main
        if route is None:
            return f"no adapter, according to {self.routes}"
        stores = self.stores()
        loaded, errors = each(stores, lambda store: self.server(store).loaded())
        late = [store for store, names in loaded.items() if route.adapter not in names]
        if late:
            return f"laggards: {named(late)} of {len(stores)} have not loaded {route.adapter}"
        if errors:
            raise failure(errors, len(stores))
        return route.version

    def places(self, version: Version | None) -> Sequence[Endpoint]:
        table = read_routes(self.routes)
        route = table.main if version is None else self._route(table, version)
        return () if route is None else tuple(Endpoint(url, route.model) for url in self.replicas())

    def share(self, version: Version) -> bool:
        table, share = read_routes(self.routes), self.settings.canary
        new, old = self._route(table, version), table.main
        if not share or new is None or old is None or old.version == version.id:
            return False
        targets = (replace(old, weight=1.0 - share), replace(new, weight=share))
        write_routes(self.routes, table.directed(targets, self.now()))
        return True

    def release(self, version: Version) -> None:
        table = read_routes(self.routes)
        route = self._route(table, version)
        if route is None:
            raise HookFailed(f"{version.id} is not in the routing table {self.routes}")
        write_routes(self.routes, table.directed([replace(route, weight=1.0)], self.now()))

    def withdraw(self, version: Version) -> None:
        table = read_routes(self.routes)
        kept = [replace(one, weight=1.0) for one in table.targets if one.version != version.id][:1]
        if kept:
            write_routes(self.routes, table.directed(kept, self.now(), proven=False))

    def tidy(self) -> None:
        table = read_routes(self.routes)
        over = [route for route in table.leaving if self._drained(route)]
        if over:
            write_routes(self.routes, self._unloaded(table, over))

    def _drained(self, route: Route) -> bool:
        return self.now() - datetime.fromisoformat(route.since) >= self.settings.drain_for

    def _without_failed(self, table: Routes, adapter: str) -> Routes:
        """The table after what was loaded and never had traffic was unloaded, and what waits no longer for its
        requests, apart from `adapter`."""
        doomed = [route for route in table.loading if route.adapter != adapter]
        over = [route for route in table.leaving if self._drained(route) and route.adapter != adapter]
        return self._unloaded(table, [*doomed, *over])

    def _unloaded(self, table: Routes, routes: Sequence[Route]) -> Routes:
        """Unload them everywhere; what a replica did not confirm stays in the table, for the next time."""
        names = [route.adapter for route in routes]
        if not names:
            return table

        def unload(store: str) -> None:
            for name in names:
                self.server(store).unload(name)

        _, errors = each(self.stores(), unload)
        return table if errors else table.gone(names)

    def _route(self, table: Routes, version: Version) -> Route | None:
        """The adapter of a version: the one that this hook loaded, or clients get, or was loaded last."""
        if self._deployed is not None and self._deployed.version == version.id:
            return self._deployed
        for routes in (table.targets, table.loading):
            found = [route for route in routes if route.version == version.id]
            if found:
                return max(found, key=lambda route: number(route.adapter))
        return None

    def stores(self) -> tuple[str, ...]:
        """Where adapters are loaded: all replicas."""
        return self.replicas()

    def server(self, store: str) -> LoraServer:
        return self.kind(Server(store, self.settings.token(), self.call.timeout_s))

    def replicas(self) -> tuple[str, ...]:
        return replicas_of(self.settings, self.call.timeout_s)


def require_adapter(version: Version) -> Path:
    """The version's adapter; raises HookFailed if it was built without one."""
    folder = version.path / FOLDER
    if not (folder / _CONFIG).is_file():
        raise HookFailed(
            f"{version.id} was built without an adapter",
            'set [deliver] as = ["checkpoint", "adapter"] and run `kbsync rebuild`',
        )
    return folder


def home_name(version: Version) -> str:
    """The name of the home's directory, in characters that servers accept in a model's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", version.path.parent.parent.name) or "kbsync"


def number(adapter: str) -> int:
    """Which attempt a name is of: 1, or n for `…~n`."""
    _, mark, digits = adapter.rpartition("~")
    return int(digits) if mark and digits.isascii() and digits.isdecimal() else 1


def chosen_name(plain: str, version: str, table: Routes, loaded: Loaded) -> str:
    """The name under which a version is loaded now.

    One that a replica lacks is loaded there: the server was restarted, does not answer, or an attempt was interrupted.
    One that is loaded everywhere and waits to be unloaded is used again.  If it is loaded everywhere and is to be
    deployed nevertheless, its answers were wrong: then the name is a new one.
    """
    own = {route.adapter for route in table.known() if route.version == version}
    own |= {name for names in loaded.values() for name in names if _is_of(name, plain)}
    if not own:
        return plain
    complete = {name for name in own if all(name in names for names in loaded.values())}
    routed = {route.adapter for route in table.targets} & own
    if lacking := routed - complete:
        return max(lacking, key=number)
    proven = {route.adapter for route in table.leaving if route.proven} & complete
    if proven and not routed:
        return max(proven, key=number)
    newest = max(own, key=number)
    if newest not in complete:
        return newest
    return f"{plain}~{number(newest) + 1}"


def _is_of(name: str, plain: str) -> bool:
    return name == plain or (name.startswith(f"{plain}~") and number(name) > 1)
