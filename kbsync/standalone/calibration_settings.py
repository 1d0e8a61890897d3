"""The calibrated settings as sections of kbsync.toml, and their merge into a file whose comments stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.durable import write_file
from editing.settings import EditSettings
from kbsync.errors import BadConfiguration
from kbsync.home import PRIVATE
from kbsync.settings.loading import read_toml

if TYPE_CHECKING:
    from editing.calibration.calibrate import Calibration

SEARCHED = (
    "layers",
    "optimiser",
    "steps",
    "bare_steps",
    "clamp",
    "kl",
    "weight_decay",
    "lam",
    "ridge",
    "chat",
    "keep",
)
"""Keys of [edit] that a calibration decides, and always writes."""


def fragment(found: Calibration, *, today: date, version: str) -> dict[str, Any]:
    """[edit], [plan] and [calibration], as plain values."""
    chosen, default = found.chosen.settings, EditSettings()
    names = [field.name for field in fields(EditSettings)]
    edit = {
        name: getattr(chosen, name)
        for name in names
        if name in SEARCHED or getattr(chosen, name) != getattr(default, name)
    }
    edit["layers"] = list(chosen.layers)
    plan: dict[str, Any] = {"variants": found.chosen.variants}
    if found.capacity.facts is not None:
        plan["capacity"] = found.capacity.facts
    measured = found.after.measures()
    calibration = {
        "base": found.base,
        "date": today,
        "kbsync": version,
        "facts": found.facts,
        "efficacy": round(measured["efficacy"], 4),
    }
    if "S" in measured:
        calibration["score"] = round(measured["S"], 4)
    return {"edit": edit, "plan": plan, "calibration": calibration}


def comment(written: Mapping[str, Any]) -> str:
    """The first line of the file."""
    found = written["calibration"]
    return f"Found by `kbsync calibrate` on {found['date']} for the base {found['base'][:12]}."


def merged(file: Path, written: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the keys in a settings file, which is created if there is none; comments and other keys stay.

    Raises BadConfiguration if the file is not valid TOML.
    """
    import tomlkit
    from tomlkit.items import Table

    file = file.resolve()  # a linked file stays a link
    if file.exists():
        read_toml(file)  # says where it is wrong
        text = file.read_text(encoding="utf-8-sig")
    else:
        text = ""
    document = tomlkit.parse(text)
    for section, values in written.items():
        if section not in document:
            document.add(tomlkit.nl())
            document.add(section, tomlkit.table())
        table = document[section]
        if not isinstance(table, Table):
            raise BadConfiguration(
                f"{file}: [{section}] is not a table",
                "write it as a section of its own, then calibrate again",
            )
        for key, value in values.items():
            table[key] = value
    mode = file.stat().st_mode & 0o777 if file.exists() else PRIVATE
    write_file(file, tomlkit.dumps(document).encode(), mode=mode)
