"""Tokens of the review pages have a table, and facts are found by the beginning of their subject's label."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created", _instant, nullable=False),
        sa.Column("expires", _instant, nullable=False),
        sa.Column("revoked", _instant, nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'reviewer', 'operator')", name="role"),
        sa.PrimaryKeyConstraint("name", name="pk_tokens"),
    )
    op.create_index("ix_tokens_digest", "tokens", ["digest"], unique=True)
    op.create_index(
        "ix_facts_subject_label",
        "facts",
        ["subject_label"],
        postgresql_ops={"subject_label": "text_pattern_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_facts_subject_label", "facts")
    op.drop_table("tokens")
