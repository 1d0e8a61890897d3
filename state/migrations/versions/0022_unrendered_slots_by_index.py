"""Slots of a relation that were never rendered are found without reading those that were."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With the prompt key alone, the index of relations looked as good, and every slot of a relation was read.
    op.drop_index("ix_slots_prompt_key", "slots")
    op.create_index("ix_slots_prompt_key", "slots", ["prompt_key", "relation"])


def downgrade() -> None:
    op.drop_index("ix_slots_prompt_key", "slots")
    op.create_index("ix_slots_prompt_key", "slots", ["prompt_key"])
