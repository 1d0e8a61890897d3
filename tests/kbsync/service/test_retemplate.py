"""`kbsync retemplate` on a micro kbsync: the cost first, then the facts, then the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kbsync.cli import main
from kbsync.runs import promotion
from tests.support.micro import TEMPLATES, Micro, make

FACTS = {"Blue House": "Anna", "Red Boat": "Bob"}
NEW = "The present owner of {} is"


def kbsync(micro: Micro, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--home", str(micro.home.root)])
    return int(ended.value.code or 0)


def live_templates(micro: Micro) -> set[str]:
    with micro.application() as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        return {fact.template for fact in tx.view_facts(live.view)}


@pytest.mark.slow
def test_the_cost_is_shown_first_and_then_the_facts_are_moved_and_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    micro.say(FACTS)
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    capsys.readouterr()
    assert kbsync(micro, "retemplate", "--reason", "nothing to do", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "relations": [],
        "moved": 0,
        "preflight": None,
        "report": None,
    }
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace(TEMPLATES[0], NEW), encoding="utf-8")
    assert micro.sync().runs == ()
    assert live_templates(micro) == {TEMPLATES[0]}
    capsys.readouterr()
    assert kbsync(micro, "retemplate", "--reason", "it is about now", "--dry-run", "--json") == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["relations"] == [{"relation": "crm:owner", "template": TEMPLATES[0], "now": NEW, "facts": 2}]
    assert cost["moved"] == 2
    assert cost["preflight"]["optimised"] == 2
    assert live_templates(micro) == {TEMPLATES[0]}
    assert kbsync(micro, "retemplate", "--reason", "it is about now", "--yes") == 0
    assert "2 facts were moved" in capsys.readouterr().err
    assert live_templates(micro) == {NEW}
    with micro.application() as app:
        promotion.project(app.state, app.home)
        assert app.state.audit.verify().ok
