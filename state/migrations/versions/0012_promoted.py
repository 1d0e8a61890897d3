"""Which checkpoints were promoted is asked of the log before anything is served: it gets an index for that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    only = sa.text("kind = 'checkpoint.promoted'")
    op.create_index("ix_events_promoted", "events", ["kind", "seq"], sqlite_where=only, postgresql_where=only)


def downgrade() -> None:
    op.drop_index("ix_events_promoted", "events")
