"""Settings from the environment: `[plan] capacity` is KBSYNC_PLAN__CAPACITY.

Unknown variables are errors, because a mistyped variable that is silently ignored is worse than an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from kbsync.errors import BadConfiguration
from kbsync.settings.deploy import PROGRAM_VARIABLES

PREFIX = "KBSYNC_"
RESERVED_VARIABLES = frozenset({"KBSYNC_HOME", "KBSYNC_CONFIG", "KBSYNC_CRASH"}) | PROGRAM_VARIABLES
"""Variables that are not settings: paths, the tests' crash points, and what deploy programs receive."""

_KUBERNETES = re.compile(
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes sets in pods if there is a Service named `kbsync` (see "Discovering services" there)."""


class Environment(EnvSettingsSource):
    """pydantic-settings' own source, with errors that name the variable and the expected format."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError) as error:
            names = sorted(
                name.upper()
                for name, held in self.env_vars.items()
                if held == value and name.upper().startswith(PREFIX)
            )
            raise BadConfiguration(
                f"the environment variable {' or '.join(names)} is not JSON: {error}",
                'lists and tables are written as JSON, such as \'["a.txt", "b.txt"]\' or \'{"key": 1}\'',
            ) from error


def reject_unknown_variables(settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
    """Raise BadConfiguration for unknown variables, which pydantic-settings ignores (seen with 2.16)."""
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if name == variable or variable in RESERVED_VARIABLES or _KUBERNETES.fullmatch(name):
            continue
        section, *rest = name.lower().split("__")
        field = settings.model_fields.get(section)
        if field is None:
            raise _unknown(variable, [PREFIX + key.upper() for key in settings.model_fields])
        kind = field.annotation
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        keys = None if fields is None else [inner.alias or key for key, inner in fields.items()]
        if keys is not None and rest and rest[0] not in keys:
            raise _unknown(variable, [f"{PREFIX}{section.upper()}__{key.upper()}" for key in keys])


def variable_of(loc: tuple[int | str, ...], environment: Mapping[str, str]) -> str | None:
    """The variable that set the key `loc` of the settings, or a section around it; None if no variable did."""
    upper = {name.upper(): name for name in environment}
    for end in range(len(loc), 0, -1):
        name = PREFIX + "__".join(str(part) for part in loc[:end]).upper()
        if name in upper:
            return upper[name]
    return None


def _unknown(variable: str, known: list[str]) -> BaseException:
    close = difflib.get_close_matches(variable.upper(), known, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return BadConfiguration(
        f"the environment variable {variable} is not a setting of kbsync",
        f"{guess}known here: {', '.join(sorted(known))}",
    )
