"""`kbsync config check`: find settings that are well-formed but cannot work.

All problems are reported, not only the first, and a misspelt name comes with a suggestion.  Settings that
work but are probably not intended are reported as notices.  No server is contacted and no model is loaded;
CUDA is checked only if the settings name it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.errors import ConnectorError
from connectors.files import FilesConnector
from connectors.guesses import did_you_mean
from connectors.wikimedia import contact_problems
from editing.editors.registry import editors
from editing.errors import EditingError
from editing.settings import EditSettings
from kbsync import telemetry
from kbsync.application import Application
from kbsync.deployment.hook_problems import hook_problems, inexact, unproven
from kbsync.errors import BadConfiguration, KbsyncError
from kbsync.programs import missing
from kbsync.queries.edit_problems import edit_problems
from kbsync.queries.object_store import storage_problems
from kbsync.queries.shared_wordings import relations_of, shared_wordings
from kbsync.queries.sources import left_over
from kbsync.queries.unlisted import described, unlisted
from kbsync.queries.upcoming import agenda
from kbsync.settings.base_model import calibration_doubt
from kbsync.settings.canaries import read_canaries
from kbsync.settings.editor_choice import AUTO
from kbsync.settings.operation import described_periods
from kbsync.settings.refusals import read_refusals
from kbsync.signing.keys import obstacles
from state.errors import StateError


@dataclass(frozen=True, slots=True)
class Problem:
    """One setting that cannot work."""

    where: str
    """Section and key, such as `[plan] capacity`."""
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What `config check` prints."""

    found: dict[str, str]
    """The settings in force, by name."""
    problems: tuple[Problem, ...]
    notices: tuple[str, ...] = ()
    """Settings that work but are probably not intended."""


def check_settings(app: Application) -> Checked:
    """Check all settings of `app`.  A wrong setting is reported and never raises an exception."""
    problems = [problem for check in CHECKS for problem in _found_by(check, app)]
    found = {
        "home": str(app.home.root),
        "model": str(app.settings.model.path or "none"),
        "gates": f"{sum(gate.enabled for gate in app.gates)} on",
        "deploy hooks": ", ".join(f"{name} ({hook.kind})" for name, hook in app.settings.deploy.items())
        or "none",
        "judge": "off" if (judge := app.settings.judge) is None else f"{judge.model} at {judge.url}",
        "health": app.settings.health.listen or "off",
        "sources": ", ".join(sorted(app.settings.sources)) or "none",
        **dict(agenda(app).lines()),
        "retention": described_periods(app.settings.retention),
    }
    if not any(problem.where.startswith("[relations") for problem in problems):
        found["relations"] = f"{len(app.catalogue.enabled())} on{_not_listed(app)}"
    if not any(problem.where == "canaries" for problem in problems):
        found["canaries"] = str(len(app.canaries))
    return Checked(found, tuple(problems), tuple(notice for look in NOTICES for notice in look(app)))


def _not_listed(app: Application) -> str:
    """Wanted facts of relations that are not in the catalogue; empty if there is no ledger."""
    if app.settings.state.url is None and not app.home.database.exists():
        return ""
    try:
        with app.state.read() as tx:
            counts = unlisted(app, tx)
    except StateError as error:
        return f" (the ledger cannot be read: {error})"
    return f"; {described(counts)}" if counts else ""


SettingsCheck = Callable[[Application], Iterator[Problem]]


def _found_by(check: SettingsCheck, app: Application) -> Iterator[Problem]:
    try:
        yield from check(app)
    except (KbsyncError, ConnectorError, EditingError) as error:
        advice = getattr(error, "advice", None) or "see docs/settings.md"
        yield Problem(check.__name__.strip("_").replace("_", " "), str(error), advice)


def _can_be_made(directory: Path) -> bool:
    """Whether `directory` can be written, or made where it will be."""
    nearest = next(one for one in (directory, *directory.parents) if one.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def _model(app: Application) -> Iterator[Problem]:
    path, model = app.settings.model.path, app.settings.model
    if path is None:
        yield Problem("[model] path", "no base model is configured", "set `path` in the [model] section")
    elif not (path / "config.json").is_file():
        yield Problem(
            "[model] path",
            f"{path} is not a Hugging Face model directory (it has no config.json)",
            "give the directory that `save_pretrained` wrote",
        )
    if model.shared is not None and not _can_be_made(model.shared):
        yield Problem(
            "[model] shared",
            f"{model.shared} cannot be written",
            "name a directory that every home's user may write, or change its owner or mode",
        )
    for text in model.corpus:
        if not text.is_dir() and not text.is_file():  # a directory is a Hugging Face dataset
            yield Problem("[model] corpus", f"there is no file {text}", "give the path of a text file")
    if model.heldout is not None and not model.heldout.is_file():
        yield Problem("[model] heldout", f"there is no file {model.heldout}", "give the path of a text file")


def _device(app: Application) -> Iterator[Problem]:
    device = app.settings.model.device
    if not device.startswith("cuda"):
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    missing = [name for name in device.split(",") if int(name.partition(":")[2] or 0) >= count]
    if missing:
        yield Problem(
            "[model] device",
            f"{missing[0]!r} is not available: this machine has {count} CUDA devices",
            'install a CUDA build of torch, or set device = "auto" or "cpu"',
        )


def _editor(app: Application) -> Iterator[Problem]:
    name = app.settings.edit.editor
    if name == AUTO:
        try:
            app.settings.edit_settings(EditSettings())
        except BadConfiguration as error:
            yield Problem("[edit] editor", str(error), error.advice or "")
    elif name is not None:
        yield from _unknown("[edit] editor", [name], (*editors(), AUTO), "editor")


def _edit(app: Application) -> Iterator[Problem]:
    yield from (Problem(*one) for one in edit_problems(app.settings))


def _gates(app: Application) -> Iterator[Problem]:
    """Find shares above 1, and gates that no candidate could ever pass."""
    measured_by_kbsync = app.settings.model_copy(update={"gate_commands": {}}).gate_list()
    for gate in measured_by_kbsync:
        share = gate.direction == "at_least"  # ratios to the base are bounded from above
        if share and not 0 <= gate.threshold <= 1:
            meant = f"{gate.threshold / 100:g}" if 1 < gate.threshold <= 100 else "0.95"
            yield Problem(
                f"[gates.{gate.name}] threshold",
                f"{gate.threshold:g} is not a share: it is compared with a number from 0 to 1",
                f"did you mean {meant}?",
            )
        if not share and gate.threshold <= 0:
            yield Problem(
                f"[gates.{gate.name}] threshold",
                f"no candidate can be at most {gate.threshold:g}",
                "it is compared with a ratio to the base, which is about 1",
            )
        if gate.margin is not None and not 0 <= gate.margin <= 1:
            what = f"{gate.margin:g} is not a share"
            yield Problem(f"[gates.{gate.name}] margin", what, "write a number from 0 to 1")


def _gate_commands(app: Application) -> Iterator[Problem]:
    for name, settings in app.settings.gate_commands.items():
        if error := missing(settings.command):
            yield Problem(f"[gate_commands.{name}] command", str(error), error.advice or "see docs/gates.md")


def _question_files(app: Application) -> Iterator[Problem]:
    asked, refused = app.settings.canaries, app.settings.refusals.prompts
    for where, read, path in (("canaries", read_canaries, asked), ("[refusals]", read_refusals, refused)):
        try:
            read(path)
        except KbsyncError as error:
            yield Problem(where, str(error), error.advice or "see docs/gates.md")


def _deploy(app: Application) -> Iterator[Problem]:
    for where, error in hook_problems(app.settings.deploy, app.settings.deliver.forms):
        yield Problem(where, str(error), error.advice or "see docs/deploying.md")


def _secrets(app: Application) -> Iterator[Problem]:
    """Find secrets that the settings name and that are not there."""
    settings, oidc, judge = app.settings, app.settings.pages.oidc, app.settings.judge
    named: list[tuple[str, Callable[[], object], str]] = [
        *((f"[webhooks.{name}]", one.keys, "notifications") for name, one in settings.webhooks.items()),
        *([("[pages.oidc]", oidc.client_secret, "pages")] if oidc is not None else []),
        *([("[judge]", judge.token, "gates")] if judge is not None else []),
    ]
    for where, read, page in named:
        try:
            read()
        except BadConfiguration as error:
            yield Problem(where, str(error), error.advice or f"see docs/{page}.md")


def _tracing(app: Application) -> Iterator[Problem]:
    if app.settings.tracing.endpoint is not None and (package := telemetry.missing()):
        yield Problem(
            "[tracing] endpoint",
            f"it needs the package {package}",
            "install the packages with `pip install 'kbsync[otel]'`, or remove the section",
        )


def _signing(app: Application) -> Iterator[Problem]:
    for what, advice in obstacles(app):
        yield Problem("[signing] required", what, advice)


def _storage(app: Application) -> Iterator[Problem]:
    yield from (Problem(*one) for one in storage_problems(app.settings.executor))


def _sources(app: Application) -> Iterator[Problem]:
    if not app.settings.sources:
        yield Problem("[sources]", "no source is configured", "add a [sources.NAME] section with a `kind`")
    yield from _unknown("[policy.sources]", app.settings.policy.sources, app.settings.sources, "source")
    for name in app.settings.sources:
        try:
            connector = app.connect(name)
            connector.close()
        except ConnectorError as error:
            yield Problem(f"[sources.{name}]", str(error), "see docs/connectors.md")
            continue
        for what, advice in contact_problems(app.settings.sources[name]):
            yield Problem(f"[sources.{name}] agent", what, advice)
        if isinstance(connector, FilesConnector) and not connector.folder.is_dir():
            yield Problem(
                f"[sources.{name}] folder",
                f"there is no folder {connector.folder}",
                "create it, since files are dropped there by others, or correct `folder`",
            )


def _relations(app: Application) -> Iterator[Problem]:
    """Find relations in the settings that are not in the catalogue, which [relations] extends."""
    known, settings = app.catalogue, app.settings
    yield from _unknown("[policy.relations]", settings.policy.relations, known, "relation")
    yield from _unknown("[policy] deny_relations", settings.policy.deny_relations, known, "relation")
    yield from _unknown("[review] relations", settings.review.relations, known, "relation")
    for name, source in settings.sources.items():
        yield from _unknown(f"[sources.{name}] relations", relations_of(source), known, "relation")


def _wordings(app: Application) -> Iterator[Problem]:
    """Find relations that are edited with a wording that another relation is judged by."""
    for one in shared_wordings(app):
        if one.taught:
            yield Problem(
                f'[relations."{one.one}"] templates',
                str(one),
                "reword one of the two, or switch one of them off with enabled = false",
            )


def _shared_questions(app: Application) -> Iterator[str]:
    """Find wordings by which two relations are judged."""
    if any(_found_by(_relations, app)):
        return  # a catalogue that cannot be read is among the problems
    for one in shared_wordings(app):
        if not one.taught:
            yield f"{one}: a subject that has both can answer only one of them right"


def _calibration(app: Application) -> Iterator[str]:
    """Say if the settings of [edit] were not measured for this base."""
    if problem := calibration_doubt(app.settings, app.imported_base(), app.home):
        yield problem


def _unknown(where: str, names: Collection[str], known: Collection[str], what: str) -> Iterator[Problem]:
    for name in sorted(set(names) - set(known)):
        listed = f"available: {', '.join(sorted(known))}"
        if what == "relation":
            listed = "`kbsync relations` lists them"
        yield Problem(where, f"there is no {what} {name!r}", f"{did_you_mean(name, known)}{listed}")


CHECKS: tuple[SettingsCheck, ...] = (
    _model,
    _device,
    _editor,
    _edit,
    _gates,
    _gate_commands,
    _question_files,
    _deploy,
    _secrets,
    _signing,
    _relations,
    _wordings,
    _sources,
    _tracing,
    _storage,
)
"""In the order in which their problems are printed."""

NOTICES = (left_over, _shared_questions, _calibration, unproven, inexact)


def require_no_problems(checked: Checked) -> None:
    """Raise BadConfiguration that lists every problem on its own line, if there are any."""
    if not checked.problems:
        return
    lines = [f"{one.where}: {one.what} → {one.advice}" for one in checked.problems]
    if len(lines) == 1:
        (one,) = checked.problems
        raise BadConfiguration(f"{one.where}: {one.what}", one.advice)
    raise BadConfiguration(f"{len(lines)} settings cannot work", lines[0], lines[1:])
