"""A base without a calibration of its own is said to have none, with the command that makes one."""

from __future__ import annotations

import os
from pathlib import Path

from kbsync.home import Home
from kbsync.settings.base_model import Imported, calibration_doubt, looks_of
from kbsync.settings.sections import Settings

DIGEST = "a" * 64


def doubt(home: Home, model: Path, **sections: object) -> str:
    """What is said of an imported base."""
    model.mkdir(exist_ok=True)
    settings = Settings.model_validate({"model": {"path": model}, **sections})
    return calibration_doubt(settings, Imported(DIGEST, str(model), looks_of(model)), home)


def record(file: Path, base: str, when: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[edit]\nlam = 2.0\n[calibration]\nbase = "{base}"\n', encoding="utf-8")
    os.utime(file, (when, when))


def test_defaults_are_told_from_settings_written_by_hand(tmp_path: Path) -> None:
    home, model = Home(tmp_path / "home"), tmp_path / "model"
    assert "its hyper-parameters are kbsync's defaults" in doubt(home, model)
    assert "its hyper-parameters are kbsync's defaults" in doubt(home, model, edit={"seed": 3})
    assert "its hyper-parameters are those written in [edit]" in doubt(home, model, edit={"lam": 2.0})
    for sentence in (doubt(home, model), doubt(home, model, edit={"lam": 2.0})):
        assert "`kbsync calibrate --write`" in sentence
        assert "\n" not in sentence


def test_nothing_is_said_of_a_calibrated_base_or_of_one_that_brings_its_settings(tmp_path: Path) -> None:
    home, model = Home(tmp_path / "home"), tmp_path / "model"
    assert doubt(home, model, calibration={"base": DIGEST}) == ""
    assert "for another base" in doubt(home, model, calibration={"base": "b" * 64})
    model.joinpath("kbsync-edit.json").write_text("{}", encoding="utf-8")
    assert doubt(home, model) == ""
    assert calibration_doubt(Settings(), None, home) == ""


def test_settings_that_were_found_but_are_not_in_force_are_named(tmp_path: Path) -> None:
    home, model = Home(tmp_path / "home"), tmp_path / "model"
    record(home.calibration / "other.toml", "b" * 64, 3_000)
    (home.calibration / "broken.toml").write_text("[calibration\n", encoding="utf-8")
    assert "is not calibrated" in doubt(home, model)
    record(home.calibration / "older.toml", DIGEST, 1_000)
    record(home.calibration / "newer.toml", DIGEST, 2_000)
    said = doubt(home, model)
    assert str(home.calibration / "newer.toml") in said
    assert "not in force: `kbsync calibrate --write`" in said
