"""A Merkle tree over the audit log: the roots of its full subtrees of 256, 256², … events.

The table begins empty; `State.migrate` fills it, a few events a transaction, and so does whoever writes next.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from state.columns import Big

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subtrees",
        sa.Column("height", Big, autoincrement=False, nullable=False),
        sa.Column("number", Big, autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("height", "number", name="pk_subtrees"),
    )


def downgrade() -> None:
    op.drop_table("subtrees")
