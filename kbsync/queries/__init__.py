"""Read-only answers for people and programs."""
