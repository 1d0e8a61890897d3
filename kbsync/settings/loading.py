"""Load the settings from the file, overridden by the environment; `load` is the only constructor.

Every error names its place: the file and the key, or the environment variable.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from connectors.border import shown
from connectors.guesses import did_you_mean
from kbsync.errors import BadConfiguration
from kbsync.settings.environment import reject_unknown_variables, variable_of
from kbsync.settings.sections import Settings


def load(
    file: Path | None, environment: Mapping[str, str] | None = None, *, directory: Path | None = None
) -> Settings:
    """The settings in `file` (None: defaults) and the environment.

    Raises BadConfiguration that names the file and the key, or the variable, that is wrong.
    Relative paths in the file are relative to `directory`, by default the file's directory.
    """
    environment = os.environ if environment is None else environment
    reject_unknown_variables(Settings, environment)
    values = read_toml(file) if file else {}
    directory = directory or (file.resolve().parent if file else Path.cwd())
    try:
        settings = Settings(**_anchored(values, directory))
    except SettingsError as error:
        raise BadConfiguration(f"the environment: {error}", "see docs/settings.md") from error
    except ValidationError as error:
        raise BadConfiguration(
            _complaints(error, file, environment), "see `kbsync config check` and docs/settings.md"
        ) from error
    settings._directory = directory
    return settings


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises BadConfiguration if it is missing or not valid TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise BadConfiguration(
            f"there is no settings file {file}", "write one with `kbsync init`, or name another with --config"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file} cannot be read: {error}", "check the path and its mode") from error
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits
        raise BadConfiguration(
            f"{file} is not valid TOML: {error}", "correct the line that it names"
        ) from error


_PATHS = {
    "model": ("path", "corpus", "heldout", "shared"),
    "calibration": ("editors",),
    "state": ("anchor", "witnesses"),
    "refusals": ("prompts",),
}
"""Section → its keys that are paths."""


def _anchored(values: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Make `canaries` and the paths in `_PATHS` absolute, relative to `directory`."""

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(item) for item in value]
        is_path = isinstance(value, str) and not value.startswith(("http://", "https://"))
        return str(directory / os.path.expanduser(value)) if is_path else value

    anchored = dict(values)
    for section, keys in _PATHS.items():
        if isinstance(anchored.get(section), dict):
            anchored[section] = {
                key: absolute(value) if key in keys else value for key, value in anchored[section].items()
            }
    if "canaries" in anchored:
        anchored["canaries"] = absolute(anchored["canaries"])
    return anchored


def describe_validation_error(error: ValidationError) -> str:
    """pydantic's first errors as `section.key: what is wrong`, on one line."""
    return "; ".join(_complaint(item) for item in error.errors()[:3])


def _complaint(item: ErrorDetails) -> str:
    where, reason = ".".join(str(part) for part in item["loc"]), item["msg"]
    if item["type"] == "extra_forbidden":
        guess = did_you_mean(str(item["loc"][-1]), _known(item["loc"]))
        reason = f"there is no such key; {guess}".rstrip("; ")
    elif item["type"] == "union_tag_invalid":
        tag, kinds = str(item["ctx"]["tag"]), item["ctx"]["expected_tags"]
        reason = (
            f"{shown(tag)} is not a kind; {did_you_mean(tag, re.findall(r'[a-z]+', kinds))}available: {kinds}"
        )
    return f"{where}: {reason}"


def _known(loc: tuple[int | str, ...]) -> Iterable[str]:
    """The keys allowed at the place of `loc`, as far as they are known: top-level keys, and those of plain sections."""
    if len(loc) == 1:
        return Settings.model_fields
    section = Settings.model_fields.get(str(loc[0])) if len(loc) == 2 else None
    return getattr(section.annotation, "model_fields", ()) if section is not None else ()


def _complaints(error: ValidationError, file: Path | None, environment: Mapping[str, str]) -> str:
    """The first errors, each preceded by the variable or the file that it concerns."""
    lines = []
    for item in error.errors()[:3]:
        variable = variable_of(item["loc"], environment)
        where = f"the environment variable {variable}" if variable else str(file or "the settings")
        lines.append(f"{where}: {_complaint(item)}")
    return "; ".join(lines)
