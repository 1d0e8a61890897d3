"""The base of a run: the configured one or, for a withdrawal, the one that live was built from.

Changing the base model has to be approved by a reviewer like any other change.  A withdrawal does not wait for
that: the fact is left out of live on the base that live already has.
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
    """An imported base with the hyper-parameters for editing it."""

    digest: str
    directory: Path
    settings: EditSettings

    @property
    def control_tokens(self) -> frozenset[str]:
        """Spellings of the control tokens."""
        return special_tokens(self.directory)


def configured(app: Application) -> RunBase:
    """The configured base, with the current settings."""
    return RunBase(
        app.base.digest,
        app.base.directory,
        app.settings.edit_settings(app.base.edit_settings, app.base.digest),
    )


def of_live(app: Application, live: Checkpoint | None) -> RunBase | None:
    """The base that live was built from, and its hyper-parameters.

    None if that is the configured base, or if it cannot be built on any more: its directory is gone, or the
    checkpoint is older than recipes.
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
    """The base of `run`.  Raises BadData if that base was replaced since."""
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


def why_gone(app: Application, run: Run) -> str:
    """That the base for which the run was planned was replaced since; empty if it was not."""
    try:
        base_of(app, run)
    except BadData:
        return "the base model has changed since"
    return ""
