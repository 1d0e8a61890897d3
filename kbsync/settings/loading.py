"""Reading the settings: the file, overridden by the environment.  `load` is the only way they are made.

Everything that is wrong is named by where it stands: the file and the key, or the variable.
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

    Raises BadConfiguration naming the file and the key, or the variable, that is wrong.
    Relative paths in the file are relative to `directory`, by default to the file's.
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
    """The tables of a TOML file; raises BadConfiguration where it is missing or none."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise BadConfiguration(
            f"there is no settings file {file}", "write one with `kbsync init`, or name another with --config"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{file} cannot be read: {error}", "check the path and its mode") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(
            f"{file} is not valid TOML: {error}", "correct the line that it names"
        ) from error


def _anchored(values: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Paths of the [model] section, canaries and anchor made absolute against the file's directory."""

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(item) for item in value]
        return str(directory / Path(value).expanduser()) if isinstance(value, str) else value

    anchored = dict(values)
    for section, keys in (("model", ("path", "corpus", "heldout")), ("state", ("anchor",))):
        if isinstance(anchored.get(section), dict):
            anchored[section] = {
                key: absolute(value) if key in keys else value for key, value in anchored[section].items()
            }
    if "canaries" in anchored:
        anchored["canaries"] = absolute(anchored["canaries"])
    return anchored


def describe_validation_error(error: ValidationError) -> str:
    """pydantic's first complaints as `section.key: what is wrong`, one line."""
    return "; ".join(_complaint(item) for item in error.errors()[:3])


def _complaint(item: ErrorDetails) -> str:
    where, reason = ".".join(str(part) for part in item["loc"]), item["msg"]
    if item["type"] == "extra_forbidden":
        guess = did_you_mean(str(item["loc"][-1]), _known(item["loc"]))
        reason = f"there is no such key; {guess}".rstrip("; ")
    elif item["type"] == "union_tag_invalid":
        tag, kinds = str(item["ctx"]["tag"]), item["ctx"]["expected_tags"]
        reason = (
            f"{shown(tag)} is no kind; {did_you_mean(tag, re.findall(r'[a-z]+', kinds))}there are: {kinds}"
        )
    return f"{where}: {reason}"


def _known(loc: tuple[int | str, ...]) -> Iterable[str]:
    """The keys beside the one at `loc`, of the sections that are one model each; none of deeper ones."""
    if len(loc) == 1:
        return Settings.model_fields
    section = Settings.model_fields.get(str(loc[0])) if len(loc) == 2 else None
    return getattr(section.annotation, "model_fields", ()) if section is not None else ()


def _complaints(error: ValidationError, file: Path | None, environment: Mapping[str, str]) -> str:
    """The first complaints, each after the variable or the file that it is about."""
    lines = []
    for item in error.errors()[:3]:
        variable = variable_of(item["loc"], environment)
        where = f"the environment variable {variable}" if variable else str(file or "the settings")
        lines.append(f"{where}: {_complaint(item)}")
    return "; ".join(lines)
