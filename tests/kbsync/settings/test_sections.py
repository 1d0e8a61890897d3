"""Settings: what is read from where, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from editing.settings import EditSettings
from kbsync.errors import BadConfiguration
from kbsync.settings.loading import load
from kbsync.settings.redacted import redacted


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
        ('[plan]\nmax_wait = "soon"\n', "is not a duration"),
        ("[plan\n", "is not valid TOML"),
        ("[gates.eficacy]\nthreshold = 1\n", "is not a gate"),
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


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("KBSYNC_MODEL__CORPUS", "not-json", "KBSYNC_MODEL__CORPUS is not JSON"),
        ("KBSYNC_MODEL__CORPUS", "[" * 100_000, "KBSYNC_MODEL__CORPUS is not JSON"),
        ("KBSYNC_SOURCES", "{", "KBSYNC_SOURCES is not JSON"),
        ("KBSYNC_PLAN__CAPACITY", "x", "the environment variable KBSYNC_PLAN__CAPACITY: plan.capacity"),
        ("KBSYNC_SCHEDULE__SYNC", "-5m", "the environment variable KBSYNC_SCHEDULE__SYNC: schedule.sync"),
        ("KBSYNC_REVIEW", '{"timeout": "never"}', "the environment variable KBSYNC_REVIEW: review.timeout"),
    ],
)
def test_a_variable_that_is_wrong_is_named_with_the_form_it_should_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadConfiguration) as caught:
        load(write(tmp_path, "[plan]\ncapacity = 7\n"))
    assert expected in str(caught.value)
    assert "kbsync.toml" not in str(caught.value), "the file is not to blame"
    assert caught.value.advice


def test_a_mistyped_variable_gets_the_one_that_was_meant() -> None:
    with pytest.raises(BadConfiguration) as caught:
        load(None, {"KBSYNC_PLAN__CAPACTIY": "7"})
    assert "did you mean KBSYNC_PLAN__CAPACITY?" in str(caught.value.advice)


def test_what_kubernetes_sets_beside_a_service_of_our_name_is_no_setting() -> None:
    load(
        None,
        {
            "KBSYNC_PORT": "tcp://10.0.0.11:8787",
            "KBSYNC_PORT_8787_TCP": "tcp://10.0.0.11:8787",
            "KBSYNC_PORT_8787_TCP_PROTO": "tcp",
            "KBSYNC_PORT_8787_TCP_PORT": "8787",
            "KBSYNC_PORT_8787_TCP_ADDR": "10.0.0.11",
            "KBSYNC_SERVICE_HOST": "10.0.0.11",
            "KBSYNC_SERVICE_PORT": "8787",
            "KBSYNC_SERVICE_PORT_HEALTH": "8787",
        },
    )


@pytest.mark.parametrize(
    "text",
    [
        '[schedule]\nsync = "-1s"\n',
        "[review]\ntimeout = -1\n",
        '[plan]\nmax_wait = "-3d"\n',
        "[executor]\nstop_timeout = -1\n",
        "[health]\nstale = -1\n",
        '[policy]\nsettle_with_reference = "-1h"\n',
        '[deploy.a]\nkind = "symlink"\npath = "/x"\nbackoff = -1\n',
    ],
)
def test_no_length_of_time_is_negative(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"cannot be negative|is not a duration|longer than 0"):
        load(write(tmp_path, text), {})


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert load(write(tmp_path, "\ufeff[plan]\ncapacity = 7\n"), {}).plan.capacity == 7


def test_no_secret_is_printed() -> None:
    shown = str(
        redacted(
            {
                "state": {"url": "postgresql://kbsync:hunter2@db/kbsync?sslmode=require&password=hunter2"},
                "sources": {"a": {"endpoint": "https://u:hunter2@host/sparql", "password": "hunter2"}},
                "deploy": {"b": {"token_env": "B_TOKEN", "api_key": "hunter2", "urls": ["http://hunter2@h"]}},
            }
        )
    )
    assert "hunter2" not in shown
    assert "B_TOKEN" in shown
    assert "host/sparql" in shown


@pytest.mark.parametrize("text", ["1e400", "nan", "inf", '"99999999999w"', '"٣h"', '"1.h"', "true"])
def test_a_duration_that_no_clock_can_add_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfiguration, match="duration"):
        load(write(tmp_path, f"[plan]\nmax_wait = {text}\n"), {})


def test_a_schedule_that_would_never_rest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="longer than 0"):
        load(write(tmp_path, "[schedule]\nsync = 0\n"), {})


def test_a_candidate_can_be_delivered_in_further_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, '[deliver]\nas = ["checkpoint", "delta"]\n')
    assert load(file, {}).deliver.further == ("delta",)
    monkeypatch.setenv("KBSYNC_DELIVER__AS", '["checkpoint"]')
    assert load(file).deliver.further == ()
    monkeypatch.delenv("KBSYNC_DELIVER__AS")
    for one in ('"delta"', '["delta", "delta"]'):
        assert load(write(tmp_path, f"[deliver]\nas = {one}\n"), {}).deliver.further == ("delta",)
    with pytest.raises(
        BadConfiguration, match="no form is named 'adaptor'; available: checkpoint, adapter, delta"
    ):
        load(write(tmp_path, '[deliver]\nas = ["adaptor"]\n'), {})
