"""The ledger's first tables, and the triggers that make the audit log append-only."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "entities",
    "cursors",
    "slots",
    "observations",
    "readings",
    "facts",
    "probes",
    "views",
    "view_facts",
    "base_answers",
    "runs",
    "rounds",
    "attempts",
    "gate_results",
    "checkpoints",
    "blocked_views",
    "deployments",
    "events",
    "leases",
    "pauses",
)
"""In the order of their making: children after their parents."""


def word(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def prose(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def real(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=nullable)


def flag(name: str, *, nullable: bool = False) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=nullable)


def big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """64 bits, chosen by the writer; on SQLite INTEGER, so that a single key is the row id."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, autoincrement=False, nullable=nullable)


def when(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def upgrade() -> None:
    sources()
    wanted()
    built()
    remembered()
    append_only()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_event_change()")


def sources() -> None:
    """What the sources said."""
    op.create_table(
        "entities",
        word("id"),
        word("label", nullable=True),
        prose("aliases"),
        flag("living", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entities")),
    )
    op.create_table(
        "cursors",
        word("source"),
        prose("cursor", nullable=True),
        when("updated"),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_cursors")),
    )
    op.create_table(
        "slots",
        big("id"),
        word("subject"),
        word("relation"),
        word("subject_label", nullable=True),
        word("template", nullable=True),
        word("prompt_key", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
    )
    op.create_index("ix_slots_prompt_key", "slots", ["prompt_key"])
    op.create_index("uq_slots_slot", "slots", ["subject", "relation"], unique=True)
    op.create_table(
        "observations",
        big("id"),
        word("source"),
        big("slot"),
        big("revision"),
        when("modified", nullable=True),
        when("observed"),
        prose("statements"),
        flag("late"),
        sa.ForeignKeyConstraint(["slot"], ["slots.id"], name=op.f("fk_observations_slot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observations")),
    )
    op.create_index("ix_observations_slot", "observations", ["slot"])
    op.create_table(
        "readings",
        big("id"),
        word("source"),
        big("slot"),
        big("revision"),
        big("observation"),
        sa.ForeignKeyConstraint(["observation"], ["observations.id"], name=op.f("fk_readings_observation")),
        sa.ForeignKeyConstraint(["slot"], ["slots.id"], name=op.f("fk_readings_slot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readings")),
    )
    op.create_index("ix_readings_source", "readings", ["source", "id"])
    op.create_index("uq_readings_slot", "readings", ["slot", "source"], unique=True)


def wanted() -> None:
    """What is wanted of it."""
    op.create_table(
        "facts",
        big("id"),
        word("key"),
        big("slot"),
        word("subject_label"),
        word("object"),
        word("target"),
        word("template"),
        word("prompt_key"),
        word("status"),
        prose("reason"),
        word("source"),
        big("revision"),
        word("statement"),
        when("held_until", nullable=True),
        number("priority"),
        word("decision", nullable=True),
        when("created"),
        when("updated"),
        sa.CheckConstraint("decision IN ('approved', 'rejected')", name=op.f("ck_facts_decision")),
        sa.CheckConstraint(
            "status IN ('held', 'quarantined', 'wanted', 'retracted', 'superseded')",
            name=op.f("ck_facts_status"),
        ),
        sa.ForeignKeyConstraint(["slot"], ["slots.id"], name=op.f("fk_facts_slot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facts")),
    )
    partial_index("ix_facts_held", "facts", ["held_until"], "held_until IS NOT NULL")
    op.create_index("ix_facts_object", "facts", ["object"])
    op.create_index("ix_facts_prompt_key", "facts", ["prompt_key"])
    op.create_index("uq_facts_slot", "facts", ["slot", "key"], unique=True)
    op.create_index("ix_facts_status", "facts", ["status", "id"])
    partial_index("uq_facts_wanted", "facts", ["slot"], "status = 'wanted'", unique=True)
    op.create_table(
        "probes",
        big("fact"),
        number("position"),
        word("kind"),
        prose("prompt"),
        prose("target"),
        sa.CheckConstraint("kind IN ('neighbour', 'same_subject', 'alias')", name=op.f("ck_probes_kind")),
        sa.ForeignKeyConstraint(["fact"], ["facts.id"], name=op.f("fk_probes_fact")),
        sa.PrimaryKeyConstraint("fact", "position", name=op.f("pk_probes")),
    )
    op.create_table(
        "views",
        big("id"),
        word("digest"),
        big("size"),
        when("created"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_views")),
        sa.UniqueConstraint("digest", name=op.f("uq_views_digest")),
    )
    op.create_table(
        "view_facts",
        big("view"),
        big("fact"),
        sa.ForeignKeyConstraint(["fact"], ["facts.id"], name=op.f("fk_view_facts_fact")),
        sa.ForeignKeyConstraint(["view"], ["views.id"], name=op.f("fk_view_facts_view")),
        sa.PrimaryKeyConstraint("view", "fact", name=op.f("pk_view_facts")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_view_facts_fact", "view_facts", ["fact", "view"])
    op.create_table(
        "base_answers",
        word("base"),
        big("fact"),
        flag("known"),
        prose("answer"),
        sa.ForeignKeyConstraint(["fact"], ["facts.id"], name=op.f("fk_base_answers_fact")),
        sa.PrimaryKeyConstraint("base", "fact", name=op.f("pk_base_answers")),
    )


def built() -> None:
    """What was built, judged and served."""
    op.create_table(
        "runs",
        big("id"),
        word("state"),
        word("view"),
        word("base"),
        prose("trigger"),
        number("round"),
        number("attempts"),
        big("checkpoint", nullable=True),
        prose("reason"),
        when("created"),
        when("updated"),
        when("review_until", nullable=True),
        sa.CheckConstraint(
            "state IN ('planned', 'building', 'built', 'judged', 'awaiting_review', "
            "'staged', 'promoted', 'deployed', 'rejected', 'failed', 'rolled_back')",
            name=op.f("ck_runs_state"),
        ),
        sa.ForeignKeyConstraint(["view"], ["views.digest"], name=op.f("fk_runs_view")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_index("ix_runs_view", "runs", ["view"])
    op.create_table(
        "rounds",
        big("run"),
        number("round"),
        word("view"),
        when("started"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_rounds_run")),
        sa.ForeignKeyConstraint(["view"], ["views.digest"], name=op.f("fk_rounds_view")),
        sa.PrimaryKeyConstraint("run", "round", name=op.f("pk_rounds")),
    )
    op.create_index("ix_rounds_view", "rounds", ["view"])
    op.create_table(
        "attempts",
        big("id"),
        big("run"),
        number("round"),
        prose("worker"),
        word("outcome"),
        prose("evidence"),
        when("started"),
        when("ended", nullable=True),
        sa.CheckConstraint(
            "outcome IN ('running', 'succeeded', 'failed', 'killed', "
            "'hung', 'out_of_memory', 'wrong_version', 'lost')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_attempts_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_run", "attempts", ["run"])
    op.create_table(
        "gate_results",
        big("run"),
        number("round"),
        word("name"),
        real("value", nullable=True),
        real("bound", nullable=True),
        real("threshold"),
        number("n"),
        flag("passed"),
        prose("detail"),
        sa.CheckConstraint("NOT passed OR value IS NOT NULL", name=op.f("ck_gate_results_number")),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_gate_results_run")),
        sa.PrimaryKeyConstraint("run", "round", "name", name=op.f("pk_gate_results")),
    )
    op.create_table(
        "checkpoints",
        big("id"),
        word("status"),
        word("view"),
        word("base"),
        big("run"),
        word("path"),
        word("digest"),
        flag("pinned"),
        when("created"),
        when("promoted", nullable=True),
        big("promotion", nullable=True),
        when("collected", nullable=True),
        sa.CheckConstraint(
            "status IN ('candidate', 'live', 'retired', 'rejected')",
            name=op.f("ck_checkpoints_status"),
        ),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_checkpoints_run")),
        sa.ForeignKeyConstraint(["view"], ["views.digest"], name=op.f("fk_checkpoints_view")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("promotion", name=op.f("uq_checkpoints_promotion")),
    )
    op.create_index("ix_checkpoints_run", "checkpoints", ["run"])
    op.create_index("ix_checkpoints_view", "checkpoints", ["view"])
    partial_index("uq_checkpoints_live", "checkpoints", ["status"], "status = 'live'", unique=True)
    op.create_table(
        "blocked_views",
        word("view"),
        prose("reason"),
        word("actor"),
        when("since"),
        sa.ForeignKeyConstraint(["view"], ["views.digest"], name=op.f("fk_blocked_views_view")),
        sa.PrimaryKeyConstraint("view", name=op.f("pk_blocked_views")),
    )
    op.create_table(
        "deployments",
        big("id"),
        big("promotion"),
        big("checkpoint"),
        word("hook"),
        word("state"),
        number("attempts"),
        word("observed"),
        prose("detail"),
        when("created"),
        when("updated"),
        sa.CheckConstraint(
            "state IN ('pending', 'deploying', 'deployed', 'failed', 'superseded')",
            name=op.f("ck_deployments_state"),
        ),
        sa.ForeignKeyConstraint(["checkpoint"], ["checkpoints.id"], name=op.f("fk_deployments_checkpoint")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index("ix_deployments_state", "deployments", ["state", "id"])
    op.create_index("uq_deployments_hook", "deployments", ["promotion", "hook"], unique=True)


def remembered() -> None:
    """What happened, and who may act."""
    op.create_table(
        "events",
        big("seq"),
        word("at"),
        word("kind"),
        word("actor"),
        big("run", nullable=True),
        big("fact", nullable=True),
        prose("body"),
        word("previous"),
        word("hash"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_fact", "events", ["fact", "seq"])
    op.create_index("ix_events_run", "events", ["run", "seq"])
    op.create_table(
        "leases",
        word("name"),
        word("holder"),
        big("generation"),
        when("expires"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "pauses",
        big("id"),
        prose("reason"),
        word("actor"),
        when("since"),
        sa.CheckConstraint("id = 1", name=op.f("ck_pauses_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pauses")),
    )


def append_only() -> None:
    """Events may be added, never changed or deleted; the owner can drop this, hence the anchor."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events "
                "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_change()"
    )
