"""`kbsync inspect` says what a model is made of, tests it, and says why one cannot be edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kbsync.cli import main
from tests.support.families import tiny_family
from tests.support.zoo import tokenizer


def saved(kind: str, path: Path) -> Path:
    tiny_family(kind, dtype=torch.float32).save_pretrained(path)
    tokenizer("sentencepiece-bos").save_pretrained(path)
    return path


def run(*arguments: object) -> object:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def inspected(model: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[object, dict[str, Any]]:
    code = run("inspect", "--model", model, "--home", home, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_a_family_that_nobody_listed_is_described_and_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = inspected(saved("bloom", tmp_path / "model"), tmp_path / "home", capsys)
    assert code == 0
    assert found["supported"]
    assert (found["family"], found["blocks"]) == ("bloom", "transformer.h")
    assert found["layers"][1]["writer"] == "transformer.h.1.mlp.dense_4h_to_h.weight"
    assert found["layers"][1]["shape"] == [32, 128]
    assert found["tied"]
    assert found["bos"] == "<s>"
    assert not found["chat_template"]
    assert {test["name"] for test in found["tests"] if test["passed"]} == {
        "writer",
        "causal",
        "batched",
        "own",
        "frozen",
        "stored",
    }
    assert found["memory"]["weights"] == 4 * found["parameters"]
    assert all(found["memory"][phase] > 0 for phase in ("optimisation", "statistics", "solve"))
    assert not (tmp_path / "home").exists()  # nothing is written


def test_what_cannot_be_edited_is_said_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved("mixtral", tmp_path / "model")
    code, found = inspected(model, tmp_path / "home", capsys)
    assert code == 78
    assert not found["supported"]
    assert "mixture of experts" in found["reason"]
    assert run("inspect", "--model", model, "--home", tmp_path / "home") == 78
    said = capsys.readouterr()
    assert "not supported" in said.out + said.err


def test_a_directory_that_is_no_model_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run("inspect", "--model", tmp_path / "empty", "--home", tmp_path / "home") == 78
    assert "config.json" in capsys.readouterr().err
