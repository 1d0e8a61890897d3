"""Rows of files and SQL tables as observations."""
