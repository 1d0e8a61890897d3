"""A request keeps who asked for it, as the operating system knew: another process carries it out.

The settings that were last in force are looked up at every start of a leader: the log gets an index for it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("asked_by", sa.String(), nullable=False, server_default=""))
    only = sa.text("kind = 'settings.changed'")
    op.create_index("ix_events_settings", "events", ["kind", "seq"], sqlite_where=only, postgresql_where=only)


def downgrade() -> None:
    op.drop_index("ix_events_settings", "events")
    op.drop_column("requests", "asked_by")
