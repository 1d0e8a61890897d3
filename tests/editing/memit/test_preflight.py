"""What a build says it will take, before it begins, and how far it says it is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.editors.contract import BuildInputs
from editing.memit import cost
from editing.memit.build import build, estimate
from editing.memit.rates import Rates
from editing.model.architectures import locate_parts
from editing.preflight import Preflight, duration, gib
from editing.progress import Pace
from tests.support.builds import built, inputs
from tests.support.paths import REPOSITORY
from tests.support.zoo import TEXT, tiny, tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def arguments(cache: Path, corpus: Path) -> tuple[Any, Any, BuildInputs]:
    return tiny("llama", dtype=torch.float32), tokenizer("byte-bpe"), inputs(cache, corpus)


def test_an_estimate_says_what_is_missing_and_writes_no_delta(tmp_path: Path, corpus: Path) -> None:
    asked = arguments(tmp_path / "cache", corpus)
    first = estimate(*asked)
    assert (first.groups, first.optimised, first.statistics) == (4, 4, 2)
    assert first.floor_flops > 0
    assert first.seconds > 0
    assert first.assumed == 3
    assert not (tmp_path / "cache" / "deltas").exists()
    told: list[Preflight] = []
    build(*asked, planned=told.append)
    assert (told[0].optimised, told[0].bytes, told[0].floor_flops) == (4, first.bytes, first.floor_flops)
    after = estimate(*asked)
    assert (after.optimised, after.statistics, after.seconds_targets) == (0, 0, 0.0)
    assert after.bytes < first.bytes


def test_a_build_may_be_called_off_when_its_cost_is_known(tmp_path: Path, corpus: Path) -> None:
    class TooMuch(Exception):
        pass

    def refuse(expected: Preflight) -> None:
        raise TooMuch

    with pytest.raises(TooMuch):
        built(tmp_path, corpus, planned=refuse)
    assert not (tmp_path / "deltas").exists()


def test_what_earlier_builds_reached_replaces_what_is_assumed(tmp_path: Path, corpus: Path) -> None:
    asked = arguments(tmp_path, corpus)
    rates = Rates.of(asked[0], "base", tmp_path)
    rates.learn({"targets": 4e9, "keys": 3e9}, {"targets": 2.0, "keys": 0.1})
    assert rates.known() == {"targets": 2e9}, "a tenth of a second says nothing"
    expected = estimate(*asked)
    assert expected.assumed == 2
    rates.learn({"targets": 1e9, "statistics": 1e9, "keys": 1e9}, dict.fromkeys(expected.phases(), 1.0))
    assert estimate(*asked).assumed == 0
    assert estimate(*asked[:2], replace(asked[2], base_digest="another")).assumed == 3
    rates.file.write_text("{")
    assert rates.known() == {}


MEASURED = """
import json, resource, sys
from pathlib import Path
import torch
from editing.editors.contract import BuildInputs
from editing.memit.build import build
from editing.model.memory import peak_bytes
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.zoo import TEXT, tiny, tokenizer
torch.set_num_threads(1)
scratch, few = Path(sys.argv[1]), sys.argv[2] == "few"
(scratch / "corpus.txt").write_text("\\n".join(TEXT * 40), encoding="utf-8")
model = tiny("gpt2", dtype=torch.float32, n_embd=64, n_inner=3072)
settings = EditSettings(layers=(1, 2), steps=3, prefixes=2, prefix_tokens=4, statistics_samples=200)
count = 8 if few else 260
requests = [EditRequest(str(i), "{} lives in", f"Ludwig {i}", "Paris") for i in range(count)]
told, before = [], []
def planned(expected):
    told.append(expected)
    before.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
inputs = BuildInputs(requests, settings, cache=scratch, base_digest="b", corpus=[scratch / "corpus.txt"])
build(model, tokenizer("byte-bpe"), inputs, planned=planned)
peak = peak_bytes()
print(json.dumps({"said": told[0].bytes - told[0].bytes_model, "took": peak - before[0]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["few", "many"])
def test_the_memory_that_was_said_is_about_what_it_took(columns: str, tmp_path: Path) -> None:
    """In a process of its own: the resident peak above what was resident when the estimate was made."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), columns],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["took"] > 100 << 20, "too little to compare"
    assert 0.5 <= found["said"] / found["took"] <= 2.0, found


def test_what_people_read() -> None:
    assert [duration(s) for s in (0.2, 40, 700, 12_000)] == ["1 s", "40 s", "12 min", "3 h 20 min"]
    assert [gib(n) for n in (300 << 20, 3 << 30)] == ["300 MiB", "3.0 GiB"]
    said = Preflight(12, 3, 2, 1e12, 1 << 30, 2 << 30, 0, 1 << 28, 100.0, 20.0, 0.5, 8e9, 3)
    assert Preflight.from_entries(said.entries()) == said
    assert Preflight.from_entries({}) is None
    lines = dict(said.lines())
    assert lines["work"] == "3 of 12 key groups to optimise, 9 cached; statistics of 2 layers to compute"
    assert lines["memory"] == "about 3.0 GiB: model 1.0 GiB, work 2.0 GiB"
    assert lines["time"].startswith("about 2 min (targets 2 min, statistics 20 s), assuming 8.0 GFLOP/s")


class Hands:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_covers_the_phases_to_come() -> None:
    clock = Hands()
    pace = Pace(clock)
    assert pace.at("load", 0, 1) == (None, None)
    pace.expect({"targets": 100.0, "statistics": 40.0, "keys": 10.0})
    assert pace.at("targets", 0, 50) == (None, 150.0)
    clock.now = 4.0
    assert pace.at("targets", 1, 50) == (0.25, 49 / 0.25 + 50)
    clock.now = 20.0
    assert pace.at("targets", 50, 50) == (2.5, 50.0)
    # The statistics were cached after all: no word of them.
    assert pace.at("keys", 0, 4) == (None, 10.0)
    clock.now = 22.0
    assert pace.at("keys", 2, 4) == (1.0, 2.0)
    assert pace.at("solve", 1, 2) == (None, 2.0)
    clock.now = 25.0
    assert pace.at("keys", 3, 4) == (0.6, pytest.approx(1 / 0.6))
    assert pace.at("keys", 4, 4)[1] == 0.0
    assert pace.at("checkpoint", 0, 1) == (None, None)


def test_a_phase_that_restarts_has_a_new_rate() -> None:
    clock = Hands()
    pace = Pace(clock)
    pace.at("judge", 0, 10)
    clock.now = 1.0
    pace.at("judge", 10, 10)
    clock.now = 100.0
    assert pace.at("judge", 0, 10) == (None, None)
    clock.now = 101.0
    assert pace.at("judge", 5, 10) == (5.0, 1.0)


@pytest.mark.parametrize(
    ("tokens_that_fit", "expected"), [(100, 256), (300, 256), (1023, 512), (5000, 4096), (10**6, 8192)]
)
def test_a_pass_on_a_gpu_is_as_large_as_its_memory_allows(
    tokens_that_fit: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("llama", dtype=torch.float32)
    parts = locate_parts(model)
    assert cost.step_tokens(model, parts, 0) == cost.CPU_TOKENS
    monkeypatch.setattr(cost, "kind_of", lambda _: "cuda")
    monkeypatch.setattr(cost, "solve_bytes", lambda _: cost.step_bytes(model, parts, 0, tokens_that_fit))
    assert cost.step_tokens(model, parts, 0) == expected
