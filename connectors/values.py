"""Literals as objects."""

from __future__ import annotations

from connectors.observations import LITERAL, Entity


def literal(text: str) -> Entity:
    """A value that is not an entity; its text is its label."""
    return Entity(id=LITERAL + text, label=text)
