"""What every section of the settings has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of `kbsync.toml`: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
