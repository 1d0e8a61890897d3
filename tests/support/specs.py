"""Specs of builds that are not run: without paths, corpus and held-out text."""

from __future__ import annotations

from typing import Any

from editing.settings import EditSettings
from editing.spec import BuildSpec, FactSpec


def spec_of(*facts: FactSpec, settings: EditSettings, **more: Any) -> BuildSpec:
    """A spec of these facts; `more` are further fields."""
    return BuildSpec(
        run="1",
        base="",
        base_digest="",
        out="out",
        cache="",
        corpus=(),
        heldout=None,
        facts=facts,
        settings=settings,
        **more,
    )
