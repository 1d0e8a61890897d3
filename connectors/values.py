"""Literals as objects."""

from __future__ import annotations

from connectors.observations import LITERAL, Entity


def literal(text: str) -> Entity:
    """A value that is no entity: it is its own label."""
    return Entity(id=LITERAL + text, label=text)
