"""A subject that is gone may come back under the revision that it had."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from state.columns import Big

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("readings", sa.Column("gone", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("readings", sa.Column("lift", Big, nullable=False, server_default="0"))
    op.execute(  # of sources with a clock, only what is gone has no date
        "UPDATE readings SET gone = true WHERE observation IN "
        "(SELECT id FROM observations WHERE statements = '[]' AND modified IS NULL)"
    )


def downgrade() -> None:
    op.drop_column("readings", "lift")
    op.drop_column("readings", "gone")
