"""Hashes and seals of events are salted, so that nobody can confirm a guess at what was erased by hashing it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("salt", sa.String(), nullable=True))
    op.add_column("events", sa.Column("seal_salt", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "seal_salt")
    op.drop_column("events", "salt")
