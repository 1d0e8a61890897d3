"""How relations are called, for people."""

from __future__ import annotations

from collections.abc import Mapping

from kbsync.application import Application
from kbsync.errors import KbsyncError


def relation_labels(app: Application) -> Mapping[str, str]:
    """Relation to label, of those in the catalogue; empty if the settings' relations cannot be read."""
    try:
        return {one.id: one.label for one in app.catalogue.enabled()}
    except KbsyncError:
        return {}
