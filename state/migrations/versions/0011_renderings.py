"""What slots are rendered with has a table.

It begins empty, so the next cycle compares every slot with the catalogue and computes prompt keys again: they
are made by NFKC_Casefold now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "renderings",
        sa.Column("relation", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("folding", sa.String(), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("relation", name="pk_renderings"),
    )


def downgrade() -> None:
    op.drop_table("renderings")
