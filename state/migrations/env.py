"""Alembic's entry point: runs on the connection that `state.migrations` hands over."""

from __future__ import annotations

from alembic import context

from state.tables import LedgerTable

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=LedgerTable.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
