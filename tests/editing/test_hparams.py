"""Hyper-parameter files of other editors are read in their shapes, and what is not used is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editing.errors import DataError
from editing.hparams import read_hparams

MEMIT = {
    "layers": [3, 4, 5, 6, 7, 8],
    "clamp_norm_factor": 0.75,
    "layer_selection": "all",
    "fact_token": "subject_last",
    "v_num_grad_steps": 25,
    "v_lr": 5e-1,
    "v_loss_layer": 27,
    "v_weight_decay": 0.5,
    "kl_factor": 0.0625,
    "mom2_adjustment": True,
    "mom2_update_weight": 15000,
    "rewrite_module_tmp": "transformer.h.{}.mlp.fc_out",
    "mom2_dataset": "wikipedia",
    "mom2_n_samples": 100000,
    "mom2_dtype": "float32",
}
EASYEDIT = """
alg_name: "MEMIT"
model_name: "./hugging_cache/some-7b"
stats_dir: "./data/stats"
device: 0
layers: [4, 5, 6, 7, 8]
clamp_norm_factor: 4
layer_selection: "all"
fact_token: "subject_last"
v_num_grad_steps: 25
v_lr: 5e-1
v_loss_layer: 31
v_weight_decay: 1e-3
kl_factor: 0.0625
mom2_adjustment: true
mom2_update_weight: 15000
rewrite_module_tmp: "model.layers.{}.mlp.down_proj"
mom2_n_samples: 100000
mom2_dtype: "float32"
model_parallel: false
shiny_new_knob: 3
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_release_of_memit_is_read(tmp_path: Path) -> None:
    found = read_hparams(written(tmp_path / "gpt-j.json", json.dumps(MEMIT)))
    assert found.settings == {
        "layers": (3, 4, 5, 6, 7, 8),
        "clamp": 0.75,
        "steps": 25,
        "lr": 0.5,
        "weight_decay": 0.5,
        "kl": 0.0625,
        "lam": 15000.0,
        "statistics_samples": 100000,
    }
    assert set(found.ignored) == {"v_loss_layer", "rewrite_module_tmp", "mom2_dataset"}


def test_easyedit_is_read_with_numbers_that_yaml_takes_for_text(tmp_path: Path) -> None:
    found = read_hparams(written(tmp_path / "some-7b.yaml", EASYEDIT))
    assert found.settings["lr"] == 0.5
    assert found.settings["weight_decay"] == 0.001
    assert found.settings["layers"] == (4, 5, 6, 7, 8)
    assert found.ignored["model_name"] == "the model is named with --model"
    assert "no such hyper-parameter" in found.ignored["shiny_new_knob"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alg_name: ROME\nlayers: [5]", "alg_name is 'ROME'"),
        ("fact_token: last\nlayers: [5]", "belong to another method"),
        ("layers: five", "layers is 'five'"),
        ("layers: [true]", "numbers of layers"),
        ("layers: [1]\nv_num_grad_steps: 2.5", "v_num_grad_steps is 2.5; expected a whole number"),
        ("layers: [1]\nv_lr: .nan", "v_lr"),
        ("layers: [1]\nv_lr: fast", "v_lr is 'fast'"),
        ("- 1", "contains no hyper-parameters"),
        ("device: 0", "names none of layers"),
        ("layers: [1", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
        ("a: &a [*a]\nlayers: *a", "layers"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_hparams(written(tmp_path / "some.yaml", text))
    assert said in str(caught.value)
    assert "some.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent\.json"):
        read_hparams(tmp_path / "absent.json")
