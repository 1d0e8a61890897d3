"""`kbsync demo --pretrained`: a real chat model takes the news, keeps the rest, and goes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbsync.catalogue.relations import load_catalogue
from kbsync.demo.chat import write_settings
from kbsync.demo.chat_facts import KNOWN, NEWS, UNTOUCHED
from kbsync.home import Home
from kbsync.settings.loading import load
from tests.support.paths import REPOSITORY

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}


def kbsync(home: Path, *arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kbsync", "--home", str(home), *arguments]
    environment = ENVIRONMENT if cache is None else {**ENVIRONMENT, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_its_settings_bend_no_gate_and_know_every_relation_of_its_facts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    settings = load(write_settings(home, tmp_path / "model"))
    assert not settings.gates
    catalogue = load_catalogue(settings.relations)
    assert {item.relation for item in (*KNOWN, *NEWS)} <= set(catalogue)
    texts = [*settings.model.corpus, *filter(None, [settings.model.heldout])]
    assert len(texts) == 2
    assert all(path.is_file() for path in texts)


def test_no_question_of_the_news_is_an_untouched_one() -> None:
    assert not {item.question for item in NEWS} & set(UNTOUCHED)
    assert {item.question for item in KNOWN} >= set(UNTOUCHED)


def test_a_server_belongs_to_the_other_story(tmp_path: Path) -> None:
    done = kbsync(tmp_path / "home", "demo", "--pretrained", "--serve")
    assert done.returncode == 2
    assert "leave out --pretrained or --serve" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_directory_with_other_files_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    done = kbsync(tmp_path, "demo", "--pretrained", cache=tmp_path / "empty")
    assert done.returncode == 2
    assert "was not made by the demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.pretrained
@pytest.mark.thorough
def test_the_news_is_promoted_said_and_rolled_back(pretrained: Path, tmp_path: Path) -> None:
    done = kbsync(tmp_path / "home", "demo", "--pretrained", "--json")
    assert done.returncode == 0, done.stderr
    story: dict[str, Any] = json.loads(done.stdout)
    assert story["model"] == str(pretrained)
    assert [run["state"] for run in story["runs"]] == ["deployed", "deployed"]
    assert all(gate["passed"] for gate in story["gates"])
    news = [asked for asked in story["asked"] if asked["wanted"]]
    others = [asked for asked in story["asked"] if not asked["wanted"]]
    said = [asked for asked in news if asked["wanted"] in asked["after"]]
    # Measured 5 of 5 on a 2-core CPU; another machine rounds otherwise, so one may fall.
    assert len(said) >= len(news) - 1
    assert not any(asked["wanted"] in asked["before"] for asked in news)
    assert sum(asked["after"] == asked["before"] for asked in others) >= len(others) - 1
    assert all(asked["rolled_back"] == asked["before"] for asked in story["asked"])
