"""Checkpoints keep what they were built with besides their facts; of those there are it is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("recipe", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.drop_column("recipe")
