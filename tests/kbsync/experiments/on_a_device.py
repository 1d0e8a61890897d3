"""Every experiment with every editor on a model that is on another device than the CPU.

Run by `test_on_a_device.py` in a process of its own: a device that pretends, once registered, stays for good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.datasets import read_records
from editing.editors.registry import editors
from editing.model import architectures
from editing.storage import loaded
from kbsync.experiments.registry import EXPERIMENTS
from kbsync.experiments.retrieving import RETRIEVAL
from kbsync.experiments.running import Order, run
from kbsync.home import Home
from kbsync.settings.sections import Settings
from kbsync.standalone.target import choose
from tests.support import taught_facts
from tests.support.pretended_devices import Pretended, pretended_devices, register

DEVICE = "pretend:0"
NAMES = sorted(EXPERIMENTS.keys() - {"sequence"})


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
        "layers": [0, 1], "prefixes": 1, "steps": 3, "optimiser": "lbfgs", "statistics_samples": 20, "lam": 50.0,
    }  # fmt: skip
    (model / "kbsync-edit.json").write_text(json.dumps(values), encoding="utf-8")
    text = directory / "text.txt"
    text.write_text("\n".join(taught_facts.taught.sentences()), encoding="utf-8")
    return model, text, Home(directory / "home")


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_on_a_device(name: str, world: tuple[Path, Path, Home], tmp_path: Path) -> None:
    model, text, home = world
    chosen = choose(home, Settings(), model=model, corpus=[text], device=DEVICE)
    records = read_records(model.parent / "facts.jsonl")
    own = tuple(one for one in editors() if one != "mend" and not one.endswith("_sequence"))
    order = Order(name, tmp_path, quick=True, editors=(*own, RETRIEVAL), heldout=text, records=records)
    run(chosen, order, lambda *_: None)
    found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert found["model"]["device"] == "pretend"
    assert "Expected all tensors" not in json.dumps(found)
    assert not [one for one in found["results"] if one.get("error")]
