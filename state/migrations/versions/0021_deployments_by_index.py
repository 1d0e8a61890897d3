"""A checkpoint's deployments, what a hook's server served last, and the checkpoints that are kept: by index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_KEPT = sa.text("collected IS NULL")


def upgrade() -> None:
    op.create_index("ix_deployments_checkpoint", "deployments", ["checkpoint"])
    op.create_index("ix_deployments_hook", "deployments", ["hook", "state", "id"])
    op.create_index("ix_checkpoints_kept", "checkpoints", ["id"], sqlite_where=_KEPT, postgresql_where=_KEPT)


def downgrade() -> None:
    op.drop_index("ix_checkpoints_kept", "checkpoints")
    op.drop_index("ix_deployments_hook", "deployments")
    op.drop_index("ix_deployments_checkpoint", "deployments")
