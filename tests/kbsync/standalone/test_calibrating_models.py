"""`kbsync calibrate` on the model that comes with kbsync, and on a pretrained chat model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.calibration.statements import WordedTriple, common_knowledge
from kbsync.cli import main
from kbsync.demo.setting import MODEL
from kbsync.demo.world import load
from kbsync.home import Home

QUICK = """[model]
path = "{model}"
[edit]
layers = [4, 5, 6]
optimiser = "lbfgs"
steps = 12
prefixes = 1
statistics_samples = 24
"""
"""Settings that cost a minute where good ones cost ten."""


def calibrated(
    model: Path, statements: list[WordedTriple], place: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What the command prints, for these statements as a facts file."""
    rows = [
        {
            "id": f"{one.subject} {one.relation}",
            "subject": one.subject,
            "prompt": one.templates[0],
            "target": one.object,
            "paraphrases": one.paraphrases,
            "questions": [one.question] if one.question else [],
        }
        for one in statements
    ]
    facts = place / "facts.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--model", str(model), "--facts", str(facts), "--home", str(place / "home"), "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "--budget", "0.5", *arguments])
    assert not ended.value.code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_facts_that_the_bundled_model_knows_take_in_whatever_time_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = load()
    facts = [
        WordedTriple(
            world.label(fact.subject),
            fact.relation,
            world.label(fact.object),
            tuple(world.wordings[fact.relation].templates),
        )
        for fact in world.facts_2021[:60]
    ]
    found = calibrated(MODEL, facts, tmp_path, capsys)
    assert found["facts"]["known"] >= 50
    assert found["scores"]["after"]["efficacy"] >= 0.8
    assert found["scores"]["after"]["S"] >= 0.7


@pytest.mark.pretrained
def test_a_pretrained_chat_model_is_asked_in_conversations_too(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home").prepare()
    home.config.write_text(QUICK.format(model=pretrained), encoding="utf-8")
    facts = [one for one in common_knowledge() if one.relation == "capital"][:24]
    found = calibrated(pretrained, facts, tmp_path, capsys)
    assert found["scores"]["after"]["efficacy"] >= 0.5
    assert "said" in found["scores"]["after"]
