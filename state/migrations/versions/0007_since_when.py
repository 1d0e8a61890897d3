"""Facts know since when they are what they are; for those there are, that is their last change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    since = sa.Column("since", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01")
    op.add_column("facts", since)
    op.execute("UPDATE facts SET since = updated")


def downgrade() -> None:
    with op.batch_alter_table("facts") as facts:
        facts.drop_column("since")
