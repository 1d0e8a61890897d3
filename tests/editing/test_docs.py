"""What README.md and docs/engine.md tell people to type works, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from editing.model.architectures import TABLE
from tests.support.paths import REPOSITORY
from tests.support.zoo import TEXT, tiny, tokenizer

PAGE = (REPOSITORY / "docs" / "engine.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/engine.md"])
def test_the_three_lines_edit_a_model_and_bring_it_back(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text("utf-8"), re.DOTALL)
    (tmp_path / "text.txt").write_text("\n".join(TEXT * 8), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    model = tiny("gpt2", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    edit, _, undo = lines.rpartition("edited.undo()")
    names: dict[str, object] = {"model": model, "tokenizer": tokenizer("byte-bpe")}
    exec(edit, names)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"transformer.h.1.mlp.c_proj.weight"}
    exec("edited.undo()" + undo, names)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_every_architecture_of_the_table_is_named() -> None:
    spelled = {
        "gpt2": "GPT-2",
        "gptj": "GPT-J",
        "gpt_neox": "GPT-NeoX",
        "gemma2": "Gemma 2",
        "gemma3": "Gemma 3 (with or without vision)",
        "gemma3_text": "Gemma 3",
        "phi3": "Phi-3",
        "olmo2": "OLMo 2",
        "opt": "OPT",
        "stablelm": "StableLM",
    }
    section = PAGE[PAGE.index("## Architectures") :]
    for kind in TABLE:
        assert spelled.get(kind, kind.capitalize()).replace(" (text)", "") in section, kind
