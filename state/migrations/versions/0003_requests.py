"""What operators ask of whoever leads has a table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATES = "'waiting', 'working', 'done', 'refused', 'withdrawn'"
_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("id", _big, primary_key=True, autoincrement=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created", _instant, nullable=False),
        sa.Column("updated", _instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_requests_state"),
    )
    op.create_index("ix_requests_state", "requests", ["state", "id"])


def downgrade() -> None:
    op.drop_index("ix_requests_state", "requests")
    op.drop_table("requests")
