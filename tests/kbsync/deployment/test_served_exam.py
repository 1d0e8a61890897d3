"""`kbsync judge-served` beside servers that generate with a version's real weights, rounded or not."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.real_weights import Wrong
from tests.support.served_world import two_versions
from tests.support.shell import Shell
from tests.support.spelled_completions import SpelledVllm
from tests.support.stand_ins import listening

pytestmark = pytest.mark.slow


@dataclass
class Asked:
    """A home with two versions, and a server beside it."""

    home: Any
    server: SpelledVllm

    def serve(self, version: int, **serving: Any) -> None:
        """The server restarts on a version with these attributes."""
        honest = {"wrong": Wrong(), "dtype": torch.float32, "gives_logprobs": True, "token": None}
        for name, value in {**honest, **serving}.items():
            setattr(self.server, name, value)
        self.server.launched_with = self.home.checkpoint(f"{version}-1")
        self.server.restart()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    server = SpelledVllm()
    with listening(server):
        micro = two_versions(tmp_path_factory.mktemp("asked") / "world", {"vllm": server})
        yield Asked(micro.home, server)


@pytest.fixture
def judged(asked: Asked, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    shell = Shell(asked.home, capfd)
    return lambda *arguments: shell("judge-served", asked.server.url, *arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_version_itself_answers_as_judged_in_every_dtype(
    asked: Asked, judged: Callable[..., tuple[int, str, str]], dtype: torch.dtype
) -> None:
    asked.serve(2, dtype=dtype)
    code, out, _ = judged("--json")
    found = json.loads(out)
    assert code == 0, out
    assert found["as_judged"]
    assert found["measured"], "the build measured what 16 bits do"
    kinds = {one["question"]["kind"] for one in found["answers"]}
    assert kinds >= {"own", "paraphrase", "said"}
    if dtype == torch.float32:
        assert {one["result"] for one in found["answers"]} == {"as judged"}, out


def test_weights_rounded_to_8_bits_pass_with_what_their_rounding_explains(
    asked: Asked, judged: Callable[..., tuple[int, str, str]]
) -> None:
    asked.serve(2, wrong=Wrong(bits=8))
    code, out, _ = judged("--bits", 8, "--json")
    assert code == 0, out


@pytest.mark.parametrize("bits", [16, 8])
def test_another_version_is_not_explained_by_rounding(
    asked: Asked, judged: Callable[..., tuple[int, str, str]], bits: int
) -> None:
    asked.serve(1)
    code, out, _ = judged("--bits", bits)
    assert code == 10, out
    assert "not explained by rounding" in out
    assert "Green Barn" in out, "only the second version states its owner"
    assert judged("--checkpoint", 1, "--bits", bits)[0] == 0, "it is what the first version's gates judged"


def test_without_log_probabilities_equal_answers_pass_and_no_other_one_is_explained(
    asked: Asked, judged: Callable[..., tuple[int, str, str]]
) -> None:
    asked.serve(2, gives_logprobs=False)
    assert judged()[0] == 0
    asked.serve(1, gives_logprobs=False)
    code, out, _ = judged("--json")
    assert code == 10
    assert {one["result"] for one in json.loads(out)["answers"]} == {"as judged", "unexplained"}


def test_the_sample_has_the_asked_size_and_nothing_is_written(
    asked: Asked, judged: Callable[..., tuple[int, str, str]]
) -> None:
    asked.serve(2)

    def written() -> tuple[list[str], int]:
        with sqlite3.connect(asked.home.database) as ledger:
            events = int(ledger.execute("SELECT count(*) FROM events").fetchone()[0])
        return sorted(
            str(path) for path in Path(asked.home.root).rglob("*") if "kbsync.db" not in path.name
        ), events

    before = written()
    first, again = (json.loads(judged("--sample", 5, "--json")[1])["answers"] for _ in range(2))
    assert len(first) == 5
    assert first == again
    assert written() == before


def test_errors_say_what_where_and_what_to_do(
    asked: Asked, judged: Callable[..., tuple[int, str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    asked.serve(2)
    shell = Shell(asked.home, capfd)
    code, _, err = judged("--model", "another")
    assert code == 75
    assert "another does not exist" in err
    code, _, err = judged("--checkpoint", 99)
    assert code == 2
    assert "99" in err
    code, _, err = shell("judge-served", "http://127.0.0.1:9")
    assert code == 75
    assert "http://127.0.0.1:9/v1/models" in err
    code, _, err = shell("judge-served", "nowhere")
    assert code == 2
    assert "http://127.0.0.1:8000" in err


def test_ctrl_c_ends_it_while_the_server_does_not_answer(asked: Asked) -> None:
    asked.serve(2)
    asked.server.hanging.add("/v1/completions")
    before = len(asked.server.requests)
    command = [
        sys.executable,
        "-m",
        "kbsync",
        "--home",
        str(asked.home.root),
        "judge-served",
        asked.server.url,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while len(asked.server.requests) < before + 2:  # the list of models, and the first question
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        asked.server.hanging.clear()
        asked.server.released.set()
    assert process.returncode == 130
    assert "interrupted" in err
