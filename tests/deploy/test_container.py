"""The container file: linted everywhere, built where a builder is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

FILE = REPOSITORY / "deploy" / "container" / "Dockerfile"


def builder() -> str | None:
    """A program that can build images here, or None."""
    for program in ("docker", "podman"):
        if shutil.which(program):
            asked = subprocess.run([program, "info"], capture_output=True, check=False)
            if asked.returncode == 0:
                return program
    return None


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_exists_and_every_package_is_copied() -> None:
    text = FILE.read_text(encoding="utf-8")
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE)
        for name in line.split()[:-1]
    }
    kept = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    for name in copied:
        assert (REPOSITORY / name).exists(), name
        assert f"!{name}" in kept, f".dockerignore hides {name}"
    assert {"kbsync", "connectors", "editing", "state", "pyproject.toml"} <= copied


def test_the_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"pip install '\.\[([\w,-]+)\]'", FILE.read_text(encoding="utf-8"))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_last_user_is_not_root() -> None:
    users = re.findall(r"^USER (.+)$", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert users[-1:] == ["65532:65532"]


@pytest.mark.thorough
def test_it_builds() -> None:
    program = builder()
    if program is None:
        pytest.skip("no program that builds images runs here: docker or podman lets this test run")
    subprocess.run([program, "build", "-f", str(FILE), "-t", "kbsync:test", str(REPOSITORY)], check=True)
    done = subprocess.run(
        [program, "run", "--rm", "kbsync:test", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("kbsync ")
