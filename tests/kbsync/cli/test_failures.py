"""Every error that a room raises on purpose ends a command with its own exit code."""

from __future__ import annotations

import errno
import inspect
import os
from pathlib import Path
from types import ModuleType

import pytest

from connectors import errors as connectors
from editing import errors as editing
from kbsync import errors as kbsync
from kbsync.cli.failures import code_named, codes, exit_code_of
from state import errors as state
from tests.support.shell import Shell

ROOTS = {connectors.ConnectorError, editing.EditingError, state.StateError, state.Unavailable}
"""Only their descendants are raised."""


def raised_by(room: ModuleType) -> list[type[Exception]]:
    found = [
        kind for _, kind in inspect.getmembers(room, inspect.isclass) if kind.__module__ == room.__name__
    ]
    return [kind for kind in found if issubclass(kind, Exception) and kind not in ROOTS]


@pytest.mark.parametrize(
    "kind", [kind for room in (connectors, editing, state, kbsync) for kind in raised_by(room)]
)
def test_every_error_has_a_code_by_its_class(kind: type[Exception]) -> None:
    if kind is not kbsync.KbsyncError:
        codes = {130} if kind is kbsync.StoryInterrupted else {2, 10, 65, 66, 75, 78}
        assert code_named(kind.__name__) in codes


def test_a_subclass_has_the_code_of_its_nearest_ancestor() -> None:
    assert code_named("SourceThrottled") == codes()[connectors.SourceUnavailable] == 75
    assert code_named("ArchitectureError") == 78


def test_an_error_of_another_library_with_the_same_name_is_unexpected(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class NotFound(Exception):
        pass

    assert exit_code_of(NotFound("somebody else's")) == 1
    assert "unexpected error" in capfd.readouterr().err


def test_a_name_that_nobody_knows_is_unexpected() -> None:
    assert code_named("KeyError") == 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "a larger quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "mount it for writing"),
    ],
)
def test_a_full_disk_is_one_clear_error_wherever_it_is_met(
    number: int, advice: str, capfd: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "/data/table.csv")
    assert exit_code_of(error) == 75
    said = capfd.readouterr().err
    assert "/data/table.csv" in said
    assert advice in said
    assert "Traceback" not in said


def test_another_error_of_the_system_is_unexpected(capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(OSError(errno.EIO, "Input/output error", "/data/x")) == 1
    assert "unexpected error" in capfd.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "edit {} --out x",
        "edit facts.jsonl --out x --model model --settings {}",
        "edit facts.jsonl --out x --model model --hparams {}",
        "trace {}",
        "calibrate --model model --facts {}",
        "restore {}",
        "keys create --from {}",
        "audit verify --against {}",
    ],
)
def test_an_input_file_that_is_not_there_is_exit_code_66(
    command: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "facts.jsonl").write_text('{"subject": "A", "prompt": "{} is", "target": "b"}\n')
    if command.startswith("restore"):
        shell.home.database.unlink()
    code, _, err = shell(*command.format("nowhere.file").split())
    assert code == 66, err
    assert "nowhere.file" in err
