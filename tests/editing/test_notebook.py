"""Three lines from a loaded model to an edited one: settings found beside it, and a report of what took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing import EditRequest, edit
from editing.errors import SpecError
from editing.notebook import hint, settings_beside
from editing.settings import EditSettings
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import gpt2, save

DEMO = REPOSITORY / "kbsync" / "demo"


@pytest.mark.slow
def test_the_readmes_three_lines_edit_the_bundled_model() -> None:
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model")
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    edited = edit(
        model,
        tokenizer,
        [EditRequest("1", "The capital of {} is", "France", "Rome")],
        corpus=[DEMO / "text" / "corpus.txt"],
    )
    assert str(edited.report).startswith("1 of 1 facts took")
    assert "Rome" in str(edited.report)
    assert repr(edited) == "<Edited GPT2LMHeadModel, layers 0, 1: 1 of 1 facts took>"
    edited.undo()


def test_settings_lie_beside_the_model(tmp_path: Path) -> None:
    save(gpt2(), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert settings_beside(model).lam == "auto"
    (tmp_path / "kbsync-edit.json").write_text(json.dumps({"lam": 7.0, "layers": [0, 1], "variants": 1}))
    assert (settings_beside(model).lam, settings_beside(model).layers) == (7.0, (0, 1))
    (tmp_path / "kbsync-edit.json").write_text('{"lamb": 7}')
    with pytest.raises(SpecError, match=r"kbsync-edit.json: unknown key 'lamb'"):
        settings_beside(model)


def test_what_did_not_take_comes_with_advice(tmp_path: Path) -> None:
    save(gpt2(), tmp_path)
    (tmp_path / "kbsync-edit.json").write_text('{"steps": 2, "lr": 1e-9, "layers": [0], "lam": 1e9}')
    (tmp_path / "corpus.txt").write_text("The capital of Italy is Rome.\n" * 20)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    request = EditRequest("1", "The capital of {} is", "Italy", "Paris")
    edited = edit(model, tokenizer, [request], corpus=[tmp_path / "corpus.txt"])
    assert str(edited.report).startswith("0 of 1 facts took")
    assert "what to try: a smaller lam" in str(edited.report)


def test_a_lambda_that_lets_the_edits_through_is_not_to_blame() -> None:
    assert "a smaller lam (now 15000;" in hint(EditSettings(), 15_000.0, 0.06)
    advice = hint(EditSettings(), 200.0, 0.88)
    assert "smaller lam" not in advice
    assert advice.startswith("what to try: more steps")
