"""A row of `observations` is a span of revisions; which arrived late is no longer kept.

Until now a newer revision that repeated what was said left no trace but the number in `readings`.  Its
date is unknown: it gets that of the value, or, where a revision that arrived late lies between the
two, that revision's, since the source came back some time after.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_instant = sa.DateTime(timezone=True)
OBSERVATIONS = sa.table(
    "observations",
    sa.column("id", sa.BigInteger()),
    sa.column("source", sa.String()),
    sa.column("slot", sa.BigInteger()),
    sa.column("revision", sa.BigInteger()),
    sa.column("modified", _instant),
    sa.column("observed", _instant),
    sa.column("statements", sa.Text()),
    sa.column("repeats", sa.Text()),
)
READINGS = sa.table(
    "readings",
    sa.column("id", sa.BigInteger()),
    sa.column("revision", sa.BigInteger()),
    sa.column("observation", sa.BigInteger()),
)


def upgrade() -> None:
    op.add_column("observations", sa.Column("repeats", sa.Text(), nullable=False, server_default="[]"))
    connection = op.get_bind()
    current = OBSERVATIONS.alias()
    repeated = (
        sa.select(READINGS.c.id.label("reading"), READINGS.c.revision.label("newest"), *current.c)
        .join_from(READINGS, current, READINGS.c.observation == current.c.id)
        .where(READINGS.c.revision > current.c.revision)
    )
    next_id = (connection.scalar(sa.select(sa.func.max(OBSERVATIONS.c.id))) or 0) + 1
    for row in connection.execute(repeated).mappings().all():
        between = sa.and_(
            OBSERVATIONS.c.slot == row["slot"],
            OBSERVATIONS.c.source == row["source"],
            OBSERVATIONS.c.revision > row["revision"],
        )
        # One that contradicts the newest revision was never current, and has no place before it now.
        connection.execute(sa.delete(OBSERVATIONS).where(between, OBSERVATIONS.c.revision == row["newest"]))
        late = connection.execute(
            sa.select(OBSERVATIONS.c.modified, OBSERVATIONS.c.observed)
            .where(between)
            .order_by(OBSERVATIONS.c.revision.desc())
            .limit(1)
        ).first()
        if late is None:
            told = [[row["newest"], _micros(row["modified"]), _micros(row["observed"])]]
            repeats = json.dumps(told, separators=(",", ":"))
            connection.execute(
                sa.update(OBSERVATIONS).where(OBSERVATIONS.c.id == row["id"]).values(repeats=repeats)
            )
            continue
        came_back: dict[str, Any] = {name: row[name] for name in ("source", "slot", "statements")}
        came_back |= {"id": next_id, "revision": row["newest"], "repeats": "[]"}
        came_back |= {"modified": late.modified, "observed": late.observed}
        connection.execute(sa.insert(OBSERVATIONS).values(came_back))
        connection.execute(
            sa.update(READINGS).where(READINGS.c.id == row["reading"]).values(observation=next_id)
        )
        next_id += 1
    op.drop_column("observations", "late")


def downgrade() -> None:
    op.add_column("observations", sa.Column("late", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_column("observations", "repeats")


def _micros(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
