"""Ledgers to do harm to: the same as for the ledger's own tests."""

from __future__ import annotations

from tests.state.conftest import empty_file, new_url, postgres_server

__all__ = ["empty_file", "new_url", "postgres_server"]
