"""Checkpoints: candidates, the live one, retired and rejected ones. (`promotions.py` makes one live.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import exists, select

from state.errors import ForbiddenTransition, NotFound
from state.records import Block, Checkpoint, CheckpointStatus
from state.tables import BlockedViews, Checkpoints, table
from state.transaction import NewEvent, Reader, Writer

CHECKPOINTS, BLOCKED = table(Checkpoints), table(BlockedViews)
_IS_BLOCKED = exists().where(BLOCKED.c.view == CHECKPOINTS.c.view).label("blocked")
_ALL = select(CHECKPOINTS, _IS_BLOCKED)

CHECKPOINT_NEXT: dict[CheckpointStatus, tuple[CheckpointStatus, ...]] = {
    "candidate": ("live", "retired", "rejected"),
    "live": ("retired",),
    "retired": ("live",),
    "rejected": (),
}
"""Where a checkpoint may go from each status."""


class CheckpointQueries(Reader):
    def checkpoint(self, id: int) -> Checkpoint:
        """Raises NotFound."""
        found = self._checkpoints(_ALL.where(CHECKPOINTS.c.id == id))
        if not found:
            raise NotFound("checkpoint", id)
        return found[0]

    def checkpoints(
        self, status: CheckpointStatus | None = None, limit: int | None = None
    ) -> tuple[Checkpoint, ...]:
        """Newest first."""
        statement = _ALL if status is None else _ALL.where(CHECKPOINTS.c.status == status)
        return self._checkpoints(statement.order_by(CHECKPOINTS.c.id.desc()).limit(limit))

    def checkpoints_before(self, before: int | None, limit: int) -> tuple[Checkpoint, ...]:
        """Newest first, from below the number `before` on: one page."""
        statement = _ALL if before is None else _ALL.where(CHECKPOINTS.c.id < before)
        return self._checkpoints(statement.order_by(CHECKPOINTS.c.id.desc()).limit(limit))

    def kept_checkpoints(self, limit: int) -> tuple[Checkpoint, ...]:
        """Those that were not deleted from the disk, newest first."""
        statement = _ALL.where(CHECKPOINTS.c.collected.is_(None)).order_by(CHECKPOINTS.c.id.desc())
        return self._checkpoints(statement.limit(limit))

    def live(self) -> Checkpoint | None:
        found = self._checkpoints(_ALL.where(CHECKPOINTS.c.status == "live"))
        return found[0] if found else None

    def previous(self) -> Checkpoint | None:
        """What was live last, of another view, and may be live again: the default target of `rollback`."""
        was_live = (CHECKPOINTS.c.status == "retired") & CHECKPOINTS.c.promotion.is_not(None)
        usable = was_live & CHECKPOINTS.c.collected.is_(None) & ~_IS_BLOCKED.element
        if (live := self.live()) is not None:
            usable &= CHECKPOINTS.c.view != live.view
        found = self._checkpoints(_ALL.where(usable).order_by(CHECKPOINTS.c.promotion.desc()).limit(1))
        return found[0] if found else None

    def kept(
        self, view: str, base: str, alike: Callable[[str], bool] = lambda recipe: True
    ) -> Checkpoint | None:
        """The newest complete checkpoint of the same view and base: judged again, not rebuilt.

        `alike` says of a recipe whether it is the one that would be built by now.
        """
        usable = CHECKPOINTS.c.status.in_(("live", "retired")) & CHECKPOINTS.c.collected.is_(None)
        same = (CHECKPOINTS.c.view == view) & (CHECKPOINTS.c.base == base)
        found = self._checkpoints(_ALL.where(same & usable).order_by(CHECKPOINTS.c.id.desc()))
        return next((one for one in found if alike(one.recipe)), None)

    def blocked_views(self) -> tuple[Block, ...]:
        return tuple(Block(*row) for row in self._rows(select(BLOCKED).order_by(BLOCKED.c.since)))

    def _checkpoints(self, statement: Any) -> tuple[Checkpoint, ...]:
        return tuple(Checkpoint(**row._mapping) for row in self._rows(statement))


class CheckpointTransitions(CheckpointQueries, Writer):
    def create_checkpoint(
        self,
        run: int,
        view: str,
        base: str,
        path: str,
        digest: str,
        actor: str = "executor",
        recipe: str = "",
    ) -> Checkpoint:
        """A candidate that lies complete under <home>/checkpoints/`path`; the same run, path and digest
        again (after a crash) is the same candidate.  `recipe`: what it was built with besides its facts."""
        same = (CHECKPOINTS.c.run == run) & (CHECKPOINTS.c.path == path) & (CHECKPOINTS.c.digest == digest)
        if found := self._checkpoints(
            _ALL.where(same & (CHECKPOINTS.c.view == view) & CHECKPOINTS.c.collected.is_(None))
        ):
            return found[0]
        id = self._next_id(CHECKPOINTS)
        self._insert(
            CHECKPOINTS,
            [
                {
                    "id": id,
                    "status": "candidate",
                    "view": view,
                    "base": base,
                    "run": run,
                    "path": path,
                    "digest": digest,
                    "pinned": False,
                    "created": self.clock(),
                    "recipe": recipe,
                }
            ],
        )
        body = {
            "checkpoint": id,
            "view": view,
            "base": base,
            "path": path,
            "digest": digest,
            "recipe": recipe,
        }
        self._log(actor, [NewEvent("checkpoint.created", body, run=run)])
        return self.checkpoint(id)

    def retire(self, id: int, reason: str, actor: str) -> Checkpoint:
        """Live or candidate becomes retired: kept, no longer served."""
        return self._set_status(id, ("live", "candidate"), "retired", reason, actor)

    def reject(self, id: int, reason: str, actor: str) -> Checkpoint:
        """A candidate that a gate or a reviewer refused."""
        return self._set_status(id, ("candidate",), "rejected", reason, actor)

    def pin(self, id: int, reason: str, actor: str) -> Checkpoint:
        """Garbage collection leaves a pinned checkpoint alone."""
        return self._set_pin(id, True, reason, actor)

    def unpin(self, id: int, reason: str, actor: str) -> Checkpoint:
        return self._set_pin(id, False, reason, actor)

    def collected(self, id: int, actor: str = "collector") -> None:
        """Its directory is gone: it is never again found as kept. Raises ForbiddenTransition for live."""
        old = self.checkpoint(id)
        if old.status == "live":
            raise ForbiddenTransition("checkpoint", id, "live", "collected", ("retired",))
        if old.collected is None:
            self._update(CHECKPOINTS, CHECKPOINTS.c.id == id, collected=self.clock())
            self._log(
                actor, [NewEvent("checkpoint.collected", {"checkpoint": id, "path": old.path}, run=old.run)]
            )

    def block_view(self, view: str, reason: str, actor: str) -> None:
        """The view will not be promoted again until released; blocking twice keeps the first reason.

        Raises ForbiddenTransition for the view that is live: something else must be promoted first.
        """
        if (live := self.live()) is not None and live.view == view:
            raise ForbiddenTransition("checkpoint", live.id, "live", "blocked", CHECKPOINT_NEXT["live"])
        if self._value(select(BLOCKED.c.view).where(BLOCKED.c.view == view)) is None:
            self._insert(BLOCKED, [{"view": view, "reason": reason, "actor": actor, "since": self.clock()}])
            self._log(actor, [NewEvent("view.blocked", {"view": view, "reason": reason})])

    def release_view(self, view: str, reason: str, actor: str) -> bool:
        """False if it was not blocked."""
        released = bool(self._delete(BLOCKED, BLOCKED.c.view == view))
        if released:
            self._log(actor, [NewEvent("view.released", {"view": view, "reason": reason})])
        return released

    def _set_status(
        self, id: int, from_: tuple[CheckpointStatus, ...], to: CheckpointStatus, reason: str, actor: str
    ) -> Checkpoint:
        old = self.checkpoint(id)
        if old.status not in from_:
            raise ForbiddenTransition("checkpoint", id, old.status, to, CHECKPOINT_NEXT[old.status])
        self._update(CHECKPOINTS, CHECKPOINTS.c.id == id, status=to)
        body = {"checkpoint": id, "from": old.status, "to": to, "reason": reason, "digest": old.digest}
        self._log(actor, [NewEvent(f"checkpoint.{to}", body, run=old.run)])
        return self.checkpoint(id)

    def _set_pin(self, id: int, pinned: bool, reason: str, actor: str) -> Checkpoint:
        old = self.checkpoint(id)
        if old.pinned != pinned:
            self._update(CHECKPOINTS, CHECKPOINTS.c.id == id, pinned=pinned)
            kind = "checkpoint.pinned" if pinned else "checkpoint.unpinned"
            self._log(actor, [NewEvent(kind, {"checkpoint": id, "reason": reason}, run=old.run)])
        return self.checkpoint(id)
