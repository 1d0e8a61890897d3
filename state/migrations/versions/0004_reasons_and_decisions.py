"""A fact's reason has its code in a column of its own, and decisions have a date.

Until now the code was a prefix of the reason ("settled: the value has stood long enough"), and whatever
had no known prefix counted as a failed gate.  A decision that bars a fact (a failed gate, a rollback) is
written down as one: it holds for the value even after its row has moved on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from state.columns import UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CODES = [
    "same",
    "nothing",
    "unread",
    "same_meaning",
    "several_normal",
    "kept",
    "rejected",
    "gate",
    "breaker_open",
    "disabled",
    "settling",
    "future",
    "settling_end",
    "settling_label",
    "settled",
    "approved",
    "relabelled",
    "ended",
    "no_value",
    "unknown_value",
    "deprecated",
    "removed",
    "ambiguous",
    "denied",
    "living_off",
    "living_review",
    "several_values",
    "sources_disagree",
    "homonym",
    "flips",
    "unreferenced",
    "label_missing",
    "label_empty",
    "label_long",
    "label_control",
    "label_braces",
    "label_lookalike",
    "label_script",
    "volume",
    "successor",
    "gone",
    "redirected",
]
"""Every code that a reason could begin with before this revision."""

DECISIONS = "decision IN ('approved', 'rejected', 'barred')"
OLD_DECISIONS = "decision IN ('approved', 'rejected')"

FACTS = sa.table(
    "facts",
    sa.column("status", sa.String()),
    sa.column("reason", sa.Text()),
    sa.column("reason_code", sa.String()),
    sa.column("decision", sa.String()),
    sa.column("decided", UTCDateTime()),
    sa.column("updated", UTCDateTime()),
)


def upgrade() -> None:
    _alter(DECISIONS, add=True)
    connection = op.get_bind()
    position = sa.func.instr if connection.dialect.name == "sqlite" else sa.func.strpos
    colon = position(FACTS.c.reason, ": ")
    prefix = sa.func.substr(FACTS.c.reason, 1, colon - 1)
    connection.execute(
        sa.update(FACTS)
        .where(colon > 0, prefix.in_(CODES))
        .values(reason_code=prefix, reason=sa.func.substr(FACTS.c.reason, colon + 2))
    )
    for beginning, status, code in (
        ("gate ", "quarantined", "gate"),
        ("rolled back: ", "quarantined", "rolled_back"),
        ("rolled back: ", "wanted", "restored"),
        ("its successor failed a gate", "wanted", "restored"),
    ):
        these = FACTS.c.reason.startswith(beginning) & (FACTS.c.status == status)
        connection.execute(sa.update(FACTS).where(these).values(reason_code=code))
    barred = FACTS.c.reason_code.in_(("gate", "rolled_back")) & FACTS.c.decision.is_(None)
    connection.execute(sa.update(FACTS).where(barred).values(decision="barred"))
    connection.execute(sa.update(FACTS).where(FACTS.c.decision.is_not(None)).values(decided=FACTS.c.updated))


def downgrade() -> None:
    connection = op.get_bind()
    coded = FACTS.c.reason_code.in_(CODES) & (FACTS.c.reason_code != "gate")
    connection.execute(
        sa.update(FACTS).where(coded).values(reason=FACTS.c.reason_code + ": " + FACTS.c.reason)
    )
    connection.execute(sa.update(FACTS).where(FACTS.c.decision == "barred").values(decision=None))
    _alter(OLD_DECISIONS, add=False)


def _alter(decisions: str, *, add: bool) -> None:
    """The two columns, and what a decision may be; SQLite has to copy the table for its CHECK."""
    with op.batch_alter_table("facts") as batch:
        batch.drop_constraint(op.f("ck_facts_decision"), type_="check")
        batch.create_check_constraint(op.f("ck_facts_decision"), decisions)
        if add:
            batch.add_column(sa.Column("reason_code", sa.String(), nullable=False, server_default=""))
            batch.add_column(sa.Column("decided", UTCDateTime(), nullable=True))
        else:
            batch.drop_column("reason_code")
            batch.drop_column("decided")
