"""Checkpoints, the views that must not be promoted, and the outbox of deployments."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Text, text
from sqlmodel import Field

from state import records
from state.columns import Big
from state.tables.base import LedgerTable, big, key, long, one_of, when


class Checkpoints(LedgerTable, table=True):
    __tablename__ = "checkpoints"
    __table_args__ = (
        one_of("status", records.CheckpointStatus),
        Index(
            "uq_checkpoints_live",
            "status",
            unique=True,
            sqlite_where=text("status = 'live'"),
            postgresql_where=text("status = 'live'"),
        ),
        Index(  # those that are still on the disk
            "ix_checkpoints_kept",
            "id",
            sqlite_where=text("collected IS NULL"),
            postgresql_where=text("collected IS NULL"),
        ),
    )
    id: int = key()
    status: str
    view: str = Field(foreign_key="views.digest", index=True)
    base: str
    run: int = big(foreign="runs.id", index=True)
    path: str
    digest: str
    pinned: bool
    created: datetime = when()
    promoted: datetime | None = when(nullable=True)
    promotion: int | None = Field(sa_type=Big, unique=True, nullable=True)
    collected: datetime | None = when(nullable=True)
    recipe: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


class BlockedViews(LedgerTable, table=True):
    __tablename__ = "blocked_views"
    view: str = Field(primary_key=True, foreign_key="views.digest")
    reason: str = long()
    actor: str
    since: datetime = when()


class Deployments(LedgerTable, table=True):
    """The outbox: written with the promotion, worked off by the daemon at least once."""

    __tablename__ = "deployments"
    __table_args__ = (
        one_of("state", records.DeploymentState),
        Index("uq_deployments_hook", "promotion", "hook", unique=True),
        Index("ix_deployments_state", "state", "id"),
        Index("ix_deployments_hook", "hook", "state", "id"),
    )
    id: int = key()
    promotion: int = big()
    checkpoint: int = big(foreign="checkpoints.id", index=True)
    hook: str
    state: str
    attempts: int
    observed: str
    detail: str = long()
    created: datetime = when()
    updated: datetime = when()
