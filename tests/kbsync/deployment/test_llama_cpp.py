"""`kbsync judge-served` beside llama.cpp's server, which serves an edited version of the pretrained model as GGUF."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.micro import make
from tests.support.paths import REPOSITORY

PYTHON = os.environ.get("LLAMA_CPP_PYTHON", "")
pytestmark = [
    pytest.mark.served,
    pytest.mark.pretrained,
    pytest.mark.skipif(
        not PYTHON,
        reason="set LLAMA_CPP_PYTHON to a Python that has `pip install 'llama-cpp-python[server]'`",
    ),
]
PATIENCE_S = 120.0
FACTS = {"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl", "Green Barn": "Anna"}
EDIT = (
    ("layers = [0, 1]", "layers = [10, 12]"),
    ("steps = 8", "steps = 18\noptimiser = 'lbfgs'"),
    ("clamp = 4.0\nlam = 10.0", "clamp = 4.0\nlam = 100.0"),
    ("statistics_samples = 20", "statistics_samples = 100"),
)
"""What the tiny model's settings are replaced by."""


def kbsync(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kbsync", "--home", str(home), *map(str, arguments), "--json"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def home(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose first version states a few invented facts; about a minute of two cores."""
    micro = make(tmp_path_factory.mktemp("served") / "world")
    text = micro.home.config.read_text(encoding="utf-8")
    for tiny, real in ((f"{micro.root}/model", str(pretrained)), *EDIT):
        assert tiny in text
        text = text.replace(tiny, real)
    micro.home.config.write_text(text, encoding="utf-8")
    micro.say(FACTS)
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro.home.root


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """llama.cpp's server on this file, as a process; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    # Its log-probabilities need the logits of every token.
    command += ["--n_ctx", "512", "--n_threads", "2", "--logits_all", "true"]
    log = model.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
        while not answers(url):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-2000:]
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", trust_env=False).is_success
    except httpx.TransportError:
        return False


def judged(home: Path, checkpoint: Path, kind: str, *options: object) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `judge-served` about the live version, where `checkpoint` is served as `kind`."""
    from tests.support.gguf_conversion import convert

    model = home.parent / f"{checkpoint.name}-{kind}.gguf"
    convert(checkpoint, model, kind)
    with serving(model) as url:
        done = kbsync(home, "judge-served", url, *options)
    assert done.returncode in (0, 10), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_version_in_8_bits_answers_as_judged_but_for_rounding(home: Path) -> None:
    code, found = judged(home, home / "checkpoints" / "1-1", "q8_0", "--bits", 8, "--sample", 16)
    assert code == 0, found
    assert {one["question"]["kind"] for one in found["answers"]} >= {"own", "paraphrase", "said"}


def test_the_base_in_its_place_is_found_in_8_bits(home: Path, pretrained: Path) -> None:
    code, found = judged(home, pretrained, "q8_0", "--bits", 8, "--sample", 16)
    assert code == 10, found
