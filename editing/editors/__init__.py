"""Editors, which turn a view into changed weights: their common contract, and the registry of editors by name."""
