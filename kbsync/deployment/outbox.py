"""The outbox: every promotion creates a row for each hook, and each row is processed at least once.

    pending ── deploying ── deployed        notified, observed to serve it, canary facts answered
       ↑          │  └───── failed ── deploying …   after a delay that doubles
       └──────────┘ the process was killed

A row is set to `deploying` before its server is notified, so if the process is killed at any point, the next start
notifies the server again; hooks are idempotent.  The delay is measured from the row's own date with the application's
clock, so it survives restarts.  Only the live promotion is deployed: rows of superseded promotions are closed
together with them.

Crash points (`editing/crashpoints.py`): `kbsync.deploying:before-telling`, the row is `deploying`;
`kbsync.deploying:after-telling`, the server was notified and names the version; `kbsync.deploying:after-row`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from editing.crashpoints import crash_point
from kbsync.application import Application
from kbsync.deployment.connect import connect_hook
from kbsync.deployment.hooks import Call, Hook, HookFailed, LoadFailed, Version
from kbsync.deployment.patience import Patience
from kbsync.deployment.proof import DeploymentProof, ServesSomethingElse, Unanswered
from kbsync.deployment.release import released, tidy
from kbsync.errors import BadConfiguration, BadData, NoInput
from kbsync.leadership import Leadership
from kbsync.settings.deploy import AnyHookSettings
from kbsync.signing.verifying import require
from state.records import Checkpoint, Deployment

log = structlog.get_logger()

ACTOR = "kbsync"
LONGEST_WAIT = timedelta(hours=1)
_MARGIN_S = 5.0
"""Extra seconds to wait beyond a hook's own timeout, since its own error message is more precise."""
_WATCH_S = 10.0
"""Longest wait for a server that is only asked what it serves, in seconds."""
_POLL_S = 0.5
_VERIFY_S = 3600.0
"""Longest verification of a version before its server is notified, in seconds."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """The state of the deployments of the live promotion."""

    waiting: tuple[Deployment, ...] = ()
    """Not deployed yet; servers will be notified (again)."""
    dead: tuple[Deployment, ...] = ()
    """Failed as often as the hook's `attempts` allows."""


def due(row: Deployment, settings: AnyHookSettings) -> datetime:
    """When a failed deployment is tried again."""
    wait = min(LONGEST_WAIT, settings.backoff * (1 << min(max(row.attempts, 1) - 1, 16)))
    return row.updated + wait


class Outbox:
    def __init__(self, app: Application, leadership: Leadership) -> None:
        self.app = app
        self.leadership = leadership
        self.patience = Patience(leadership.renew, app.stopping)

    def work(self, *, asked: bool = False, bounded: bool = False) -> Outstanding:
        """Notify every hook that has not confirmed the live promotion and whose delay is over.

        `asked`: an operator wants it now, so there is no delay.  `bounded`: a run waits for the outcome, so a row that
        has failed `attempts` times is not tried again; otherwise it is, at most hourly.
        Raises Stopping, and state.StaleLeader if another process leads.
        """
        rows = self._rows()
        for row in rows:
            settings = self.app.settings.deploy[row.hook]
            if row.state == "failed":
                over = bounded and row.attempts >= settings.attempts
                if over or not (asked or self.app.now() >= due(row, settings)):
                    continue
            if row.state != "deployed" or self._drifted(row, settings):
                self._attempt(row, settings)
        rows = self._rows()
        dead = tuple(row for row in rows if self._is_dead(row))
        return Outstanding(
            tuple(row for row in rows if row.state != "deployed" and row not in dead),
            dead,
        )

    def _is_dead(self, row: Deployment) -> bool:
        return row.state == "failed" and row.attempts >= self.app.settings.deploy[row.hook].attempts

    def _rows(self) -> list[Deployment]:
        """Rows of the live promotion, one per configured hook; those left by a killed process become pending again."""
        hooks = self.app.settings.deploy
        with self.app.state.read() as tx:
            live = tx.live()
            rows = tx.deployments(promotion=live.promotion) if live and live.promotion else ()
        named = {row.hook for row in rows}
        stray = [row for row in rows if row.hook not in hooks and row.state not in ("deployed", "superseded")]
        cut_off = [row for row in rows if row.hook in hooks and row.state == "deploying"]
        if live is None or not (stray or cut_off or set(hooks) - named):
            return [row for row in rows if row.hook in hooks]
        with self.leadership.write() as tx:
            tx.add_hooks(tuple(hooks), self.leadership.lease, ACTOR)
            for row in stray:
                tx.move_deployment(
                    row.id, row.state, "superseded", actor=ACTOR, detail="the hook is no longer configured"
                )
            for row in cut_off:
                tx.move_deployment(
                    row.id,
                    "deploying",
                    "pending",
                    actor=ACTOR,
                    detail="the daemon was stopped or killed meanwhile",
                )
            return [row for row in tx.deployments(promotion=live.promotion) if row.hook in hooks]

    def _drifted(self, row: Deployment, settings: AnyHookSettings) -> bool:
        """Whether a server that had confirmed its version now serves another one (after a restart, for example)."""
        version = self._version(row)
        call = Call(_WATCH_S, threading.Event())
        try:
            hook = connect_hook(settings, call, self.app.now)
            observed = self.patience.wait(hook.observed_version, _WATCH_S + _MARGIN_S, call.abandoned)
            proof = self._proof(row, settings, hook)
            if observed is None:
                proof.facts()
            if observed in (None, version.id):
                proof.glance()
                tidy(hook, self.patience, settings)
                return False
        except (Unanswered, ServesSomethingElse) as error:
            observed = str(error)
        except (HookFailed, BadConfiguration) as error:
            # An unreachable server is left alone: it may come back with the same weights.
            log.warning("deploy.unreachable", hook=row.hook, reason=str(error))
            return False
        log.warning("deploy.drifted", hook=row.hook, observed=observed, expected=version.id)
        return True

    def _attempt(self, row: Deployment, settings: AnyHookSettings) -> None:
        """One attempt at one row, from `deploying` to `deployed` or `failed`."""
        with self.leadership.write() as tx:
            row = tx.move_deployment(row.id, row.state, "deploying", actor=ACTOR)
        crash_point("kbsync.deploying:before-telling")
        version = self._version(row)
        call = Call(settings.timeout.total_seconds(), threading.Event())
        try:
            self._require_signature(self._checkpoint(row))
            hook = connect_hook(settings, call, self.app.now)
            proof = self._proof(row, settings, hook)
            proof.prime()
            observed = self._notified(hook, row, settings, version, call)
            crash_point("kbsync.deploying:after-telling")
            _require_name(observed, version)
            confirmed = proof.confirm(observed)
            confirmed += released(hook, version, proof, self.patience, settings)
        except (HookFailed, BadConfiguration) as error:
            detail = str(error)
            if isinstance(error, LoadFailed):
                detail = f"{detail}; {self._restore(row, settings)}"
            self._log_failure(row, settings, version, detail)
            with self.leadership.write() as tx:
                tx.move_deployment(
                    row.id, "deploying", "failed", actor=ACTOR, detail=detail, observed=_seen_instead(error)
                )
        else:
            log.info("deploy.done", hook=row.hook, version=version.id, detail=confirmed)
            with self.leadership.write() as tx:
                tx.move_deployment(
                    row.id,
                    "deploying",
                    "deployed",
                    actor=ACTOR,
                    observed=observed or f"{version.id} (notified)",
                    detail=confirmed,
                )
        crash_point("kbsync.deploying:after-row")

    def _log_failure(self, row: Deployment, settings: AnyHookSettings, version: Version, detail: str) -> None:
        spent = row.attempts >= settings.attempts
        log.log(
            logging.CRITICAL if spent else logging.ERROR,
            "deploy.attempts_spent" if spent else "deploy.failed",
            hook=row.hook,
            version=version.id,
            attempt=row.attempts,
            reason=detail,
        )

    def _notified(
        self, hook: Hook, row: Deployment, settings: AnyHookSettings, version: Version, call: Call
    ) -> str | None:
        """Notify the server; returns the version it reports, as soon as it is the right one or after `settle`."""
        verb = hook.rollback if self._had_before(row) else hook.deploy
        settle = settings.settle.total_seconds()

        def notify() -> str | None:
            verb(version)
            rounds = int(settle / _POLL_S)
            while (observed := hook.observed_version()) not in (None, version.id) and rounds > 0:
                call.abandoned.wait(_POLL_S)
                rounds -= 1
            return observed

        return self.patience.wait(notify, call.timeout_s + settle + _MARGIN_S, call.abandoned)

    def _proof(self, row: Deployment, settings: AnyHookSettings, hook: Hook) -> DeploymentProof:
        return DeploymentProof(self.app, self.patience, self._checkpoint(row), settings, hook)

    def _restore(self, row: Deployment, settings: AnyHookSettings) -> str:
        """Deploy the previous version again by its own path, since a failed load leaves the weights in doubt."""
        before = self._before(row)
        if before is None:
            return "there is no version before to go back to"
        call = Call(settings.timeout.total_seconds(), threading.Event())
        try:
            self._require_signature(before)
            hook, version = connect_hook(settings, call, self.app.now), self._version_of(before)
            self.patience.wait(lambda: hook.rollback(version), call.timeout_s + _MARGIN_S, call.abandoned)
        except (HookFailed, BadConfiguration) as error:
            return f"{self._version_of(before).id} could not be pushed again either: {error}"
        return f"{version.id} was pushed again"

    def _require_signature(self, checkpoint: Checkpoint) -> None:
        """Raises HookFailed unless the files are signed as the settings require: every byte is read."""
        if not self.app.settings.signing.required:
            return
        try:
            self.patience.wait(lambda: require(self.app, checkpoint), _VERIFY_S, threading.Event())
        except (BadData, NoInput) as error:
            raise HookFailed(f"it was not notified: {error}", error.advice) from error

    def _checkpoint(self, row: Deployment) -> Checkpoint:
        with self.app.state.read() as tx:
            return tx.checkpoint(row.checkpoint)

    def _version(self, row: Deployment) -> Version:
        return self._version_of(self._checkpoint(row))

    def _version_of(self, checkpoint: Checkpoint) -> Version:
        return Version.of(checkpoint, self.app.home.checkpoints)

    def _had_before(self, row: Deployment) -> bool:
        with self.app.state.read() as tx:
            earlier = tx.deployments(checkpoint=row.checkpoint)
        return any(one.hook == row.hook and one.promotion < row.promotion and one.attempts for one in earlier)

    def _before(self, row: Deployment) -> Checkpoint | None:
        """The checkpoint that this hook's server served last, if it still exists."""
        with self.app.state.read() as tx:
            served = tx.last_deployed(row.hook, before=row.promotion)
        if served is None:
            return None
        checkpoint = self._checkpoint(served)
        return None if checkpoint.collected else checkpoint


def _require_name(observed: str | None, version: Version) -> None:
    """Raises ServesSomethingElse if the server names another version."""
    if observed is not None and observed != version.id:
        raise ServesSomethingElse(
            observed,
            f"it was notified of {version.id} and says that it serves {observed!r}",
            "is it behind a load balancer, or did another program change it as well?",
        )


def _seen_instead(error: Exception) -> str | None:
    """What a server serves instead, for the row; None if that is not what failed."""
    return error.what if isinstance(error, ServesSomethingElse) else None
