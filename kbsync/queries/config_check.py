"""What `config check` looks at: settings that are well-formed but cannot work."""

from __future__ import annotations

from pathlib import Path

from kbsync.application import Application
from kbsync.deployment.checks import check_hooks
from kbsync.errors import BadConfiguration


def check_settings(app: Application) -> dict[str, str]:
    """What was found, by thing checked; raises BadConfiguration at the first that cannot work.

    Reaches no server and loads no model.
    """
    found = {"home": str(app.home.root)}
    path = app.settings.model.path
    if path is None:
        raise BadConfiguration("no base model is configured", "set `path` in the [model] section")
    if not (path / "config.json").is_file():
        raise BadConfiguration(
            f"[model] path: {path} is no Hugging Face model directory (it has no config.json)",
            "give the directory that `save_pretrained` wrote",
        )
    found["model"] = str(path)
    for text in app.settings.model.corpus:
        if not text.is_dir():  # a Hugging Face dataset saved to disk
            _require_file(text, "[model] corpus")
    if app.settings.model.heldout is not None:
        _require_file(app.settings.model.heldout, "[model] heldout")
    if not app.settings.model.corpus:
        raise BadConfiguration(
            "no text is configured for the statistics of the keys",
            "set `corpus` in the [model] section to a text file of the language the model speaks",
        )
    found["gates"] = f"{sum(gate.enabled for gate in app.gates)} on"
    found["canaries"] = str(len(app.canaries))
    found["deploy hooks"] = check_hooks(app.settings.deploy)
    found["health"] = app.settings.health.listen or "off"
    found["relations"] = f"{len(app.catalogue.enabled())} on"
    found["sources"] = ", ".join(sorted(app.connectors)) or "none"
    if not app.connectors:
        raise BadConfiguration("no source is configured", "add a [sources.NAME] section with a `kind`")
    return found


def _require_file(path: Path, key: str) -> None:
    if not path.is_file():
        raise BadConfiguration(f"{key}: there is no file {path}", "give the path of an existing text file")
