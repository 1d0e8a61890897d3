"""An alias that judges a fact is stored as a name, beside the prompt that is about it.

Up to now the name was cut out of the prompt whenever it was needed; this is the last time.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_probes = sa.table("probes", *map(sa.column, ("fact", "position", "kind", "prompt", "name")))
_facts = sa.table("facts", sa.column("id"), sa.column("template"))


def upgrade() -> None:
    op.add_column("probes", sa.Column("name", sa.Text(), nullable=True))
    connection = op.get_bind()
    found = connection.execute(
        sa.select(_probes.c.fact, _probes.c.position, _probes.c.prompt, _facts.c.template)
        .join_from(_probes, _facts, _facts.c.id == _probes.c.fact)
        .where(_probes.c.kind == "alias")
    ).all()
    named = [
        {"of": row.fact, "at": row.position, "to": name}
        for row in found
        if (name := _name(row.prompt, row.template))
    ]
    if named:
        row = (_probes.c.fact == sa.bindparam("of")) & (_probes.c.position == sa.bindparam("at"))
        connection.execute(sa.update(_probes).where(row).values(name=sa.bindparam("to")), named)


def _name(prompt: str, template: str) -> str:
    """What stands in the prompt where the template has its `{}`; empty where it is another template's."""
    before, _, after = template.partition("{}")
    if not (prompt.startswith(before) and prompt.endswith(after)):
        return ""
    return prompt[len(before) : len(prompt) - len(after)]


def downgrade() -> None:
    with op.batch_alter_table("probes") as probes:
        probes.drop_column("name")
