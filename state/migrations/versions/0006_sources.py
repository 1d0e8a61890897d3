"""How reading each source goes has a table; until now only the cursor's date said when it was last read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("succeeded", _instant, nullable=True),
        sa.Column("failed", _instant, nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry", _instant, nullable=True),
        sa.Column("reconciled", _big, nullable=True),
        sa.PrimaryKeyConstraint("source", name="pk_sources"),
    )
    op.execute(
        "INSERT INTO sources (source, succeeded, kind, error, failures) "
        "SELECT source, updated, '', '', 0 FROM cursors"
    )


def downgrade() -> None:
    op.drop_table("sources")
