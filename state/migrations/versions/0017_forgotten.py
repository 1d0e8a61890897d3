"""Subjects that were forgotten are recognised by a keyed digest, so that they are not learnt again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from state.columns import Big

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column("number", Big, autoincrement=False, nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("digests", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("since", _instant, nullable=False),
        sa.Column("released", _instant, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_forgotten"),
    )


def downgrade() -> None:
    op.drop_table("forgotten")
