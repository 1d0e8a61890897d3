"""Settings: what is read from where, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from editing.settings import EditSettings
from kbsync.errors import BadConfiguration
from kbsync.settings.sections import load


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "kbsync.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_the_defaults_hold() -> None:
    assert load(None, {}).plan.capacity == 1_000


def test_the_file_overrides_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[plan]\ncapacity = 7\nmax_wait = "90m"\n'), {})
    assert settings.plan.capacity == 7
    assert settings.plan.max_wait == timedelta(minutes=90)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_PLAN__CAPACITY", "9")
    assert load(write(tmp_path, "[plan]\ncapacity = 7\n")).plan.capacity == 9


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[model]\npath = "models/m"\ncorpus = ["a.txt"]\n'), {})
    assert settings.model.path == tmp_path / "models" / "m"
    assert settings.model.corpus == (tmp_path / "a.txt",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[plan]\ncapcity = 7\n", "plan.capcity: there is no such key"),
        ("[plan]\ncapacity = 0\n", "plan.capacity"),
        ('[plan]\nmax_wait = "soon"\n', "is no duration"),
        ("[plan\n", "is not valid TOML"),
        ("[gates.eficacy]\nthreshold = 1\n", "is no gate"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadConfiguration, match=r"(?s).*") as caught:
        load(write(tmp_path, text), {}).gate_list()
    assert named in str(caught.value)
    assert caught.value.advice


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="there is no settings file"):
        load(tmp_path / "missing.toml", {})


@pytest.mark.parametrize("variable", ["KBSYNC_PLAM__CAPACITY", "KBSYNC_PLAN__CAPCITY", "KBSYNC_FOO"])
def test_a_mistyped_variable_is_refused_not_ignored(variable: str) -> None:
    with pytest.raises(BadConfiguration, match=variable):
        load(None, {variable: "9"})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    load(None, {"KBSYNC_HOME": "/x", "KBSYNC_CONFIG": "y", "KBSYNC_CRASH": "z", "PATH": "/bin"})


def test_edit_overrides_are_laid_over_the_architectures_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "[edit]\nclamp = 2.0\nlayers = [0, 1]\n"), {})
    edit = settings.edit_settings(EditSettings(lr=0.25))
    assert (edit.clamp, edit.layers, edit.lr) == (2.0, (0, 1), 0.25)


def test_gate_overrides_change_only_what_they_name(tmp_path: Path) -> None:
    gates = {g.name: g for g in load(write(tmp_path, "[gates.efficacy]\nthreshold = 0.5\n"), {}).gate_list()}
    assert gates["efficacy"].threshold == 0.5
    assert gates["paraphrase"].threshold == 0.85
