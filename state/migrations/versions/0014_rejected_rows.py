"""Rows of a source that could not be used are counted beside how reading it goes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from state.columns import Big

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sources", sa.Column("rejected", Big, nullable=False, server_default="0"))
    op.add_column("sources", sa.Column("reject", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("sources") as sources:
        sources.drop_column("rejected")
        sources.drop_column("reject")
