"""Events seal the rows they wrote, the ledger has a name of its own, and what is proven has a place."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from state.columns import Big, UTCDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("rows", sa.Text(), nullable=True))
    ledger = op.create_table(
        "ledger",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("created", UTCDateTime(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
    )
    op.bulk_insert(ledger, [{"id": 1, "instance": secrets.token_hex(8), "created": datetime.now(UTC)}])
    op.create_table(
        "checks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_checks")),
    )


def downgrade() -> None:
    op.drop_table("checks")
    op.drop_table("ledger")
    op.drop_column("events", "rows")
