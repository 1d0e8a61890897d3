"""An architecture outside the table, described in kbsync.toml, through a whole cycle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM, MambaConfig, MambaForCausalLM

from editing.errors import ArchitectureError
from editing.storage.checkpoints import read_changed
from tests.support.micro import Micro, make
from tests.support.tiny_models import save

DESCRIPTION = "architecture_blocks = 'transformer.h'\narchitecture_writer = 'mlp.c_proj'\n"


def gpt_neo() -> GPTNeoForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_layers=4,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=16,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoForCausalLM(config).eval()


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    micro = make(tmp_path)
    shutil.rmtree(tmp_path / "model")
    save(gpt_neo(), tmp_path / "model")
    return micro


def test_a_model_in_which_no_mlp_is_found_says_what_to_write_about_it(micro: Micro, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "model")
    config = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=8)
    save(MambaForCausalLM(config).eval(), tmp_path / "model")
    with pytest.raises(ArchitectureError, match="architecture_blocks") as caught:
        _ = micro.application().base
    assert "blocks 'backbone.layers'" in str(caught.value)


def test_a_model_outside_the_table_is_found_in_its_modules(micro: Micro) -> None:
    micro.say({"The tower": "Anna"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"


def test_described_in_the_settings_it_goes_through_a_whole_cycle(micro: Micro) -> None:
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[edit]\n", f"[edit]\n{DESCRIPTION}"), encoding="utf-8")
    micro.say({"The tower": "Anna", "The bridge": "Bob"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    app = micro.application()
    changed = read_changed(app.base.directory, app.home.live.resolve())
    app.close()
    assert sorted(changed) == ["transformer.h.0.mlp.c_proj.weight", "transformer.h.1.mlp.c_proj.weight"]


def test_a_description_may_travel_with_the_model(micro: Micro, tmp_path: Path) -> None:
    (tmp_path / "model" / "kbsync-edit.json").write_text(
        '{"architecture_blocks": "transformer.h", "architecture_writer": "mlp.c_proj", "clamp": 2.5}'
    )
    base = micro.application().base
    assert base.edit_settings.clamp == 2.5
    assert base.edit_settings.architecture_writer == "mlp.c_proj"
