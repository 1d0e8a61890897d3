"""Every list of facts and events is read by an index, whatever it is filtered by and however large the ledger is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_RARE = sa.text(
    "kind NOT IN ('fact.held', 'fact.quarantined', 'fact.retracted', 'fact.superseded', 'fact.wanted', "
    "'observations.recorded', 'rows.written')"
)
_DECIDED = sa.text("decision IS NOT NULL")
_BY_CHARACTERS = {"subject_label": "text_pattern_ops"}


def upgrade() -> None:
    op.create_index("ix_events_kind", "events", ["kind", "seq"], sqlite_where=_RARE, postgresql_where=_RARE)
    op.create_index("ix_events_at", "events", ["at", "seq"])
    op.create_index("ix_facts_source", "facts", ["source", "status", "id"])
    op.create_index("ix_facts_reason_code", "facts", ["reason_code", "id"])
    op.create_index(
        "ix_facts_decision", "facts", ["decision", "status"], sqlite_where=_DECIDED, postgresql_where=_DECIDED
    )
    op.create_index("ix_slots_relation", "slots", ["relation", "id"])
    op.drop_index("ix_facts_subject_label", "facts")
    op.create_index("ix_facts_subject_label", "facts", ["subject_label", "id"], postgresql_ops=_BY_CHARACTERS)


def downgrade() -> None:
    op.drop_index("ix_facts_subject_label", "facts")
    op.create_index("ix_facts_subject_label", "facts", ["subject_label"], postgresql_ops=_BY_CHARACTERS)
    op.drop_index("ix_slots_relation", "slots")
    op.drop_index("ix_facts_decision", "facts")
    op.drop_index("ix_facts_reason_code", "facts")
    op.drop_index("ix_facts_source", "facts")
    op.drop_index("ix_events_at", "events")
    op.drop_index("ix_events_kind", "events")
