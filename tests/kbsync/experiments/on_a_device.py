"""Every editor in an experiment on a model that is on another device than the CPU.

Run by `test_on_a_device.py` in a process of its own: a device that pretends, once registered, stays for good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.datasets import read_records
from editing.editors.registry import editors
from editing.model import architectures
from editing.storage import loaded
from kbsync.experiments import running
from kbsync.experiments.editors import _measured
from kbsync.experiments.measuring import ATTENTION, EditTrial
from kbsync.experiments.report import Findings
from kbsync.experiments.retrieving import RETRIEVAL
from kbsync.experiments.scores import TrialScores
from kbsync.experiments.setup import Setup
from kbsync.home import Home
from kbsync.settings.sections import Settings
from kbsync.standalone.target import choose
from tests.support import taught_facts
from tests.support.pretended_devices import Pretended, pretended_devices, register

DEVICE = "pretend:0"
EDITORS = [*(name for name in editors() if not name.endswith("_sequence")), RETRIEVAL, ATTENTION]
FEW = 2


@pytest.fixture(autouse=True)
def pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain, real = architectures._is_plain_matrix, loaded.load_model

    def accepted(weight: object) -> bool:
        # A pretended tensor is a wrapper, which the engine refuses: packed or sharded weights are such, too.
        return plain(torch.nn.Parameter(weight.inner, False) if isinstance(weight, Pretended) else weight)

    def load(path: Path, **_: Any) -> Any:
        return real(path, device="cpu").to(DEVICE)

    monkeypatch.setattr(architectures, "_is_plain_matrix", accepted)
    monkeypatch.setattr(loaded, "load_model", load)
    with pretended_devices():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Home]:
    register()  # before autograd is first used
    directory = tmp_path_factory.mktemp("taught")
    model = taught_facts.save(directory / "model")
    values = {
        "layers": [0, 1], "prefixes": 1, "steps": 2, "optimiser": "lbfgs", "statistics_samples": 8, "lam": 50.0,
    }  # fmt: skip
    (model / "kbsync-edit.json").write_text(json.dumps(values), encoding="utf-8")
    text = directory / "text.txt"
    text.write_text("\n".join(taught_facts.taught.sentences()), encoding="utf-8")
    return model, text, Home(directory / "home")


@pytest.mark.parametrize("editor", EDITORS)
def test_a_trial_on_a_device(
    editor: str, world: tuple[Path, Path, Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edited, judged, and its cost measured."""
    model, text, home = world
    found: list[TrialScores] = []

    def experiment(setup: Setup) -> Findings:
        cases = setup.cases(0, FEW + 1)
        trial = EditTrial(
            editor, replace(setup.settings, editor=editor), cases[:FEW], FEW, setup.variants, generated=1
        )
        found.append(setup.bench.scores(trial))
        cost = _measured(setup.bench, trial, cases)
        assert not cost.error
        return Findings("", [], {}, [])

    monkeypatch.setattr(running, "experiment_named", lambda _: experiment)
    chosen = choose(home, Settings(), model=model, corpus=[text], device=DEVICE)
    records = read_records(model.parent / "facts.jsonl")
    order = running.Order("one", tmp_path, quick=True, heldout=text, records=records)
    running.run(chosen, order, lambda *_: None)
    (scores,) = found
    assert not scores.error
    assert len(scores.facts) == FEW
    about = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert about["model"]["device"] == "pretend"
