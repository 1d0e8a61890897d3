"""What each server was last observed to serve: for `kbsync status`, `kbsync deployments` and the metrics."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime

from kbsync.application import Application
from kbsync.deployment.connect import connect_hook
from kbsync.deployment.hooks import Call, HookFailed, Version
from kbsync.deployment.link import read_live_link
from kbsync.deployment.outbox import due
from kbsync.deployment.patience import Patience
from kbsync.errors import BadConfiguration
from state.records import Deployment, DeploymentState

LINK = "live"
"""Name of the built-in link, listed like a hook."""
_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """One server, or the link."""

    hook: str
    kind: str
    version: str
    """The live version, which should be served; empty if nothing is live."""
    observed: str
    """The version it was last observed to serve; empty if none was observed yet."""
    matches: bool
    state: DeploymentState | None
    """None for the link, or for a hook without an outbox row yet."""
    attempts: int = 0
    next_try: datetime | None = None
    spent: bool = False
    """Failed as often as the hook's `attempts` allows: an operator should look at it."""
    detail: str = ""
    updated: datetime | None = None
    as_judged: bool | None = None
    """Whether the server was last seen to serve what the gates judged; None if it was never seen since."""

    def __str__(self) -> str:
        if self.matches:
            return f"{self.observed} ({self.detail})" if self.detail else self.observed
        seen = f"last seen: {self.observed}" if self.observed else "never seen to serve anything"
        tried = f"; next try after {self.next_try:%F %H:%M:%S} UTC" if self.next_try else ""
        if self.spent:
            tried = f"; GIVEN UP after {self.attempts} attempts, tried again hourly at most{tried}"
        how = f"not {self.version or 'anything yet'} ({self.state or 'not notified'}, {seen}{tried})"
        return f"{how} {self.detail}".rstrip()


def served(app: Application) -> tuple[Served, ...]:
    """The link, then every configured hook: read from the disk and the ledger, without contacting a server."""
    with app.state.read() as tx:
        live = tx.live()
        current = tx.deployments(promotion=live.promotion) if live and live.promotion else ()
        last = {hook: tx.last_deployed(hook) for hook in app.settings.deploy}
    version = Version.of(live, app.home.checkpoints).id if live else ""
    link = read_live_link(app.home)
    found = [Served(LINK, "symlink", version, link, bool(live) and link == version, None)]
    for hook, settings in app.settings.deploy.items():
        row = next((row for row in current if row.hook == hook), None)
        confirmed = last[hook]
        observed = confirmed.observed if confirmed is not None else ""
        if row is None:
            found.append(Served(hook, settings.kind, version, observed, False, None))
            continue
        found.append(
            Served(
                hook,
                settings.kind,
                version,
                observed,
                row.state == "deployed",
                row.state,
                row.attempts,
                due(row, settings) if row.state == "failed" else None,
                row.state == "failed" and row.attempts >= settings.attempts,
                row.detail,
                row.updated,
                _as_judged(row, version),
            )
        )
    return tuple(found)


def _as_judged(row: Deployment, version: str) -> bool | None:
    """What the last check that could be made has shown; another failure says nothing."""
    if not row.observed:
        return None
    return row.observed.startswith(version)


def ask_now(app: Application) -> tuple[Served, ...]:
    """Like `served`, with what each server reports now; for one that cannot be asked, the reason."""
    return tuple(one if one.hook == LINK else _asked(app, one) for one in served(app))


def ask_hook(app: Application, name: str) -> str | None:
    """The version that a configured hook's server reports now; None if it cannot name one.

    Raises HookFailed if it cannot be asked, BadConfiguration if its settings cannot work.
    """
    call = Call(_ASK_S, threading.Event())
    hook = connect_hook(app.settings.deploy[name], call, app.now)
    return Patience(lambda: None, app.stopping).wait(hook.observed_version, 2 * _ASK_S, call.abandoned)


def _asked(app: Application, one: Served) -> Served:
    try:
        observed = ask_hook(app, one.hook)
    except (HookFailed, BadConfiguration) as error:
        return replace(one, observed="", matches=False, detail=str(error))
    if observed is None:
        return replace(one, detail=f"it names no version; {one.detail}")
    return replace(one, observed=observed, matches=observed == one.version)


def history(app: Application, limit: int) -> tuple[Deployment, ...]:
    """Rows of the outbox, newest first."""
    with app.state.read() as tx:
        return tx.newest_deployments(limit)
