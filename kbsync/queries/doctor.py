"""`kbsync doctor`: check everything that kbsync depends on, and say how to fix what is wrong.

Nothing is written: no ledger is created or migrated, no base is imported, no server is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from connectors.errors import ConnectorError
from connectors.observations import Health
from editing.errors import EditingError
from editing.storage.base_import import EDITABLE
from editing.storage.manifest import read_manifest
from kbsync.application import Application
from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.served import ask_hook, served
from kbsync.errors import BadConfiguration
from kbsync.intake.source import Source
from kbsync.queries.config_check import check_settings
from kbsync.queries.object_store import unreachable
from kbsync.visible import visible
from state import State, StateError
from state.errors import Busy, LeaseHeld

Condition = Literal["ok", "later", "wrong"]
"""`later`: not available now, but may recover by itself; `wrong`: a person has to change something."""

CODES: dict[Condition, int] = {"ok": 0, "later": 75, "wrong": 78}
ASK_S = 60.0
"""Time limit for one source's answer, in seconds."""
_LEAST_FREE = 2**30
_CANDIDATES = 3
"""Maximum number of unfinished copies of the editable shard that a sync has on disk: a candidate's and the cache's."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    verdict: Condition
    detail: str
    advice: str = ""


def examine(app: Application, ask_s: float = ASK_S) -> tuple[Finding, ...]:
    """All findings, in order of dependency."""
    ledger = _ledger(app)
    found = [*_settings(app), _home(app), _disk(app), _base(app), ledger]
    if ledger.verdict == "ok" and _has_ledger(app):
        found.append(_live(app))
    found += _storage(app)
    found += [_hook(app, name) for name in app.settings.deploy]
    return (*found, *ask_sources(app, ask_s))


def exit_code(findings: Iterable[Finding]) -> int:
    """78 if a person has to change something, 75 if something is not available now, else 0."""
    return max((CODES[finding.verdict] for finding in findings), default=0)


def ask_sources(app: Application, ask_s: float = ASK_S) -> tuple[Finding, ...]:
    """Each source's answer to one inexpensive request; all sources are asked concurrently."""
    names = list(app.settings.sources)
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return tuple(pool.map(partial(_source, app, ask_s), names))


def _source(app: Application, ask_s: float, name: str) -> Finding:
    source = Source(name, partial(app.connect, name), timedelta(seconds=ask_s))
    try:
        health = source.check()
    except ConnectorError as error:
        health = Health(False, str(error), lasting=error.lasting)
    except Exception as error:  # noqa: BLE001  any exception of a connector is a finding
        health = Health(False, f"{type(error).__name__}: {error}")
    finally:
        source.close()
    return _of_source(f"source {name}", health)


def _of_source(what: str, health: Health) -> Finding:
    lag = f", {health.lag_s:.0f} s behind" if health.lag_s is not None else ""
    detail = visible(f"{health.detail}{lag}", 500)
    if health.ok:
        return Finding(what, "ok", detail)
    if health.lasting:
        return Finding(what, "wrong", detail, "correct its section in kbsync.toml; see docs/connectors.md")
    advice = "it is read again by itself; if this lasts, ask whoever runs the source"
    return Finding(what, "later", detail, advice)


def _settings(app: Application) -> Iterator[Finding]:
    checked = check_settings(app)
    for problem in checked.problems:
        yield Finding(f"settings: {problem.where}", "wrong", problem.what, problem.advice)
    for notice in checked.notices:
        yield Finding("settings", "ok", notice)
    if not checked.problems:
        yield Finding("settings", "ok", "every setting is usable")


def _home(app: Application) -> Finding:
    root = app.home.root
    if not root.exists():
        return Finding("home", "ok", f"{root} does not exist yet", "`kbsync init` makes it")
    if not os.access(root, os.W_OK | os.X_OK):
        return Finding(
            "home", "wrong", f"{root} cannot be written", "change its owner or mode, or choose another --home"
        )
    return Finding("home", "ok", str(root))


def _disk(app: Application) -> Finding:
    place = app.home.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needed = max(_LEAST_FREE, _CANDIDATES * _editable_bytes(app))
    detail = f"{free / 2**30:.1f} GiB free at {place}, a sync needs up to about {needed / 2**30:.1f} GiB"
    if free >= needed:
        return Finding("disk", "ok", detail)
    advice = "free some space, or lower [state] keep so that fewer retired checkpoints stay"
    return Finding("disk", "later", detail, advice)


def _editable_bytes(app: Application) -> int:
    imported = app.imported_base()
    shard = app.home.base / imported.digest / EDITABLE if imported else None
    return shard.stat().st_size if shard is not None and shard.is_file() else 0


def _base(app: Application) -> Finding:
    """Whether the imported base is complete; its bytes are compared by the scheduled check, not here."""
    imported, path = app.imported_base(), app.settings.model.path
    if imported is None:
        return Finding("base", "ok", "no base has been imported yet", "`kbsync sync` imports it")
    directory = app.home.base / imported.digest
    try:
        missing = [name for name in read_manifest(directory).files if not (directory / name).is_file()]
    except (EditingError, OSError) as error:
        missing = [str(error)]
    if missing:
        return Finding(
            "base",
            "wrong",
            f"{directory} is damaged: {', '.join(missing[:3])}",
            "`kbsync sync` imports it again",
        )
    changed = path is not None and not imported.looks_like(path)
    note = "; the files at [model] path look different now, so the next sync imports them" if changed else ""
    place = f", shared in {directory.parent}" if app.home.shared is not None else ""
    return Finding("base", "ok", f"{imported.digest[:12]}, complete{place}{note}")


def _has_ledger(app: Application) -> bool:
    return app.settings.state.url is not None or app.home.database.exists()


def _ledger(app: Application) -> Finding:
    if not _has_ledger(app):
        return Finding("ledger", "ok", "there is none yet", "`kbsync sync` makes it")
    try:
        state = State.open(app.settings.database_url(app.home), clock=app.now)
        try:
            state.check_migrated()
            with state.read() as tx:
                head = tx.head()
        finally:
            state.close()
    except StateError as error:
        verdict: Condition = "later" if isinstance(error, Busy | LeaseHeld) else "wrong"
        advice = getattr(error, "advice", None) or "see docs/state.md"
        return Finding("ledger", verdict, visible(str(error), 500), advice)
    return Finding("ledger", "ok", f"answers; {head.seq if head else 0} events in the audit log")


def _live(app: Application) -> Finding:
    link = served(app)[0]
    if not link.version:
        return Finding("live", "ok", "nothing has been promoted yet")
    if not link.matches:
        return Finding(
            "live",
            "wrong",
            f"the link leads to {link.observed or 'nothing'}, the ledger's live version is {link.version}",
            "`kbsync sync` points it there again, and builds the version again if it is missing",
        )
    return Finding("live", "ok", link.version)


def _storage(app: Application) -> Iterator[Finding]:
    """Whether this machine reaches the object store of builds on a cluster; its nodes may not."""
    if (url := app.settings.executor.ray.storage) is None:
        return
    what = f"object store {url}"
    if problem := unreachable(url):
        yield Finding(
            what, "later", visible(problem, 500), "docs/cluster.md names what its bucket has to allow"
        )
    else:
        yield Finding(what, "ok", "an object was written, read, listed and removed")


def _hook(app: Application, name: str) -> Finding:
    what = f"deploy hook {name}"
    try:
        observed = ask_hook(app, name)
    except HookFailed as error:
        advice = error.advice or "it is called again by itself; check whether its server runs"
        return Finding(what, "later", visible(str(error), 500), advice)
    except BadConfiguration as error:
        return Finding(what, "wrong", str(error), error.advice or "see docs/deploying.md")
    return Finding(what, "ok", f"answers; it serves {observed or 'no version that it can name'}")
