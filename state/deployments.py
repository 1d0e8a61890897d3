"""Deployments: the outbox of promotions, one row for every hook that a promotion has to reach.

A row is written in the promotion's own transaction and worked off afterwards, at least once, however
often the daemon is killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from state.errors import ForbiddenTransition, NotFound, StaleTransition
from state.records import Deployment, DeploymentState
from state.tables import Deployments, table
from state.transaction import NewEvent, Reader, Writer, columns_of

DEPLOYMENTS = table(Deployments)
_DEPLOYMENT = columns_of(DEPLOYMENTS, Deployment)

DEPLOYMENT_NEXT: dict[DeploymentState, tuple[DeploymentState, ...]] = {
    "pending": ("deploying", "superseded"),
    "deploying": ("deployed", "failed", "superseded", "pending"),  # pending: the daemon was killed meanwhile
    "failed": ("deploying", "superseded"),
    "deployed": ("deploying",),  # the server was seen to serve something else by now
    "superseded": (),
}
"""Where a deployment may go; `superseded` means that a newer promotion came first."""


class DeploymentQueries(Reader):
    def deployments(
        self,
        state: DeploymentState | None = None,
        checkpoint: int | None = None,
        promotion: int | None = None,
    ) -> tuple[Deployment, ...]:
        """Oldest first."""
        statement = select(*_DEPLOYMENT).order_by(DEPLOYMENTS.c.id)
        for column, value in (
            (DEPLOYMENTS.c.state, state),
            (DEPLOYMENTS.c.checkpoint, checkpoint),
            (DEPLOYMENTS.c.promotion, promotion),
        ):
            if value is not None:
                statement = statement.where(column == value)
        return tuple(Deployment(*row) for row in self._rows(statement))

    def newest_deployments(self, limit: int) -> tuple[Deployment, ...]:
        """Newest first."""
        statement = select(*_DEPLOYMENT).order_by(DEPLOYMENTS.c.id.desc()).limit(limit)
        return tuple(Deployment(*row) for row in self._rows(statement))

    def last_deployed(self, hook: str, before: int | None = None) -> Deployment | None:
        """What the hook's server was last seen to serve; with `before`, of earlier promotions than that one."""
        deployed = (DEPLOYMENTS.c.hook == hook) & (DEPLOYMENTS.c.state == "deployed")
        if before is not None:
            deployed &= DEPLOYMENTS.c.promotion < before
        row = self._row(select(*_DEPLOYMENT).where(deployed).order_by(DEPLOYMENTS.c.id.desc()).limit(1))
        return None if row is None else Deployment(*row)

    def count_deployments(self) -> dict[DeploymentState, int]:
        """Of all promotions."""
        rows = self._rows(select(DEPLOYMENTS.c.state, func.count()).group_by(DEPLOYMENTS.c.state))
        return dict(rows)


class DeploymentTransitions(DeploymentQueries, Writer):
    def move_deployment(
        self,
        id: int,
        from_: DeploymentState,
        to: DeploymentState,
        *,
        actor: str,
        observed: str | None = None,
        detail: str = "",
    ) -> Deployment:
        """Compare-and-set; entering `deploying` counts an attempt. `observed`: what the server serves.

        Raises ForbiddenTransition, StaleTransition, NotFound.
        """
        if to not in DEPLOYMENT_NEXT[from_]:
            raise ForbiddenTransition("deployment", id, from_, to, DEPLOYMENT_NEXT[from_])
        old = self._deployment(id)
        values: dict[str, Any] = {"state": to, "detail": detail, "updated": self.clock()}
        if to == "deploying":
            values["attempts"] = old.attempts + 1
        if observed is not None:
            values["observed"] = observed
        if not self._update(DEPLOYMENTS, (DEPLOYMENTS.c.id == id) & (DEPLOYMENTS.c.state == from_), **values):
            raise StaleTransition("deployment", id, from_, old.state, to)
        body = {
            "deployment": id,
            "checkpoint": old.checkpoint,
            "hook": old.hook,
            "from": from_,
            "to": to,
            "observed": observed,
            "detail": detail,
        }
        self._log(actor, [NewEvent(f"deployment.{to}", body)])
        return self._deployment(id)

    def _deployment(self, id: int) -> Deployment:
        row = self._row(select(*_DEPLOYMENT).where(DEPLOYMENTS.c.id == id))
        if row is None:
            raise NotFound("deployment", id)
        return Deployment(*row)

    def _supersede(self, actor: str) -> None:
        """Hooks that have not heard of an older promotion need not any more."""
        open_states: tuple[DeploymentState, ...] = ("pending", "deploying", "failed")
        for state in open_states:
            for old in self.deployments(state=state):
                self.move_deployment(
                    old.id, state, "superseded", actor=actor, detail="a newer promotion came first"
                )

    def _add_deployments(self, checkpoint: int, promotion: int, hooks: Sequence[str]) -> None:
        first, now = self._next_id(DEPLOYMENTS), self.clock()
        self._insert(
            DEPLOYMENTS,
            [
                {
                    "id": first + number,
                    "promotion": promotion,
                    "checkpoint": checkpoint,
                    "hook": hook,
                    "state": "pending",
                    "attempts": 0,
                    "observed": "",
                    "detail": "",
                    "created": now,
                    "updated": now,
                }
                for number, hook in enumerate(dict.fromkeys(hooks))
            ],
        )
