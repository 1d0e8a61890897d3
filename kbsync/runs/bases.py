"""The base that a run is built on: the configured one, or, for a withdrawal, the one that live was built from.

Another base model is a change that reviewers approve like any other.  What was withdrawn does not wait for that:
it is left out of live on the base that live already has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from editing.errors import SpecError
from editing.json_decode import decode
from editing.settings import EditSettings
from editing.special_tokens import special_tokens
from kbsync.application import Application
from kbsync.errors import BadData
from kbsync.recipe import IMPLIED
from kbsync.runs.planning import WITHDRAWAL
from state.records import Checkpoint, Run


@dataclass(frozen=True, slots=True)
class RunBase:
    """An imported base with the hyper-parameters that it is edited with."""

    digest: str
    directory: Path
    settings: EditSettings

    @property
    def control_tokens(self) -> frozenset[str]:
        """Spellings of the tokens that steer the model instead of spelling a word."""
        return special_tokens(self.directory)


def configured(app: Application) -> RunBase:
    """The configured base, with today's settings."""
    return RunBase(app.base.digest, app.base.directory, app.settings.edit_settings(app.base.edit_settings))


def of_live(app: Application, live: Checkpoint | None) -> RunBase | None:
    """The base that live was built from, and how it was edited.

    None where that is the configured base, and where it cannot be built on any more: its directory is gone, or
    the checkpoint is older than recipes.
    """
    if live is None or live.base == app.base.digest or not live.recipe:
        return None
    directory = app.home.base / live.base
    if not directory.is_dir():
        return None
    try:
        edit = {**IMPLIED, **json.loads(live.recipe)["edit"]}
        return RunBase(live.base, directory, decode(EditSettings, edit, "recipe"))
    except (ValueError, KeyError, SpecError):
        return None  # written by another version


def base_of(app: Application, run: Run) -> RunBase:
    """What `run` is built on.  Raises BadData where that base was replaced since."""
    if run.base == app.base.digest:
        return configured(app)
    with app.state.read() as tx:
        live = tx.live()
    base = of_live(app, live) if run.trigger == WITHDRAWAL else None
    if base is None or base.digest != run.base:
        raise BadData(
            f"the base {run.base[:12]}… of run {run.id} is not the one that is configured",
            "plan again with `kbsync sync`",
        )
    return base


def is_gone(app: Application, run: Run) -> bool:
    """Whether the base that the run was planned on was replaced since."""
    try:
        base_of(app, run)
    except BadData:
        return True
    return False
