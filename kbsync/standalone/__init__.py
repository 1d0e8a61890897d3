"""Editing without a ledger: `kbsync edit`, `stats` and `trace`."""
