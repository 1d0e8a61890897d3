"""A relation that was taken out of the settings: its facts stay, and the others go on."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from editing.spec import BuildSpec
from kbsync.queries.config_check import check_settings
from kbsync.queries.status import overview
from kbsync.service.cycle import CycleReport, cycle
from kbsync.service.reading import reconcile
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted

BOSS = (
    "[relations.'crm:boss']\nlabel = 'boss'\ntemplates = ['The boss of {} is', '{} is led by', 'Boss of {}:']"
)


def synced(micro: Micro) -> CycleReport:
    micro.now += timedelta(hours=1)
    with micro.application() as app, app.leading() as leadership:
        return cycle(app, leadership, trigger="test", worker=Scripted())


def drop(micro: Micro, name: str, **row: str) -> None:
    (micro.drop / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def test_its_facts_are_built_with_their_pinned_templates_and_named(tmp_path: Path) -> None:
    micro = make(tmp_path / "world", thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")
    micro.say({"Blue House": "Anna"})
    synced(micro)
    text = micro.home.config.read_text()
    text, removed = re.subn(r"\[relations.'crm:owner'\].*?\n\n", f"{BOSS}\n\n", text, flags=re.S)
    assert removed == 1
    micro.home.config.write_text(text)
    drop(micro, "9", subject="old-mill", subject_label="Old Mill", relation="boss", object="Carl")
    report = synced(micro)
    assert [run.state for run in report.runs] == ["deployed"]
    assert report.unavailable == {}
    spec = BuildSpec.read(micro.home.round(2, 1).spec)
    assert {fact.prompt: fact.paraphrases for fact in spec.facts} == {
        "The owner of {} is": (),
        "The boss of {} is": ("Old Mill is led by", "Boss of Old Mill:"),
    }
    with micro.application() as app:
        assert "crm:owner (1)" in check_settings(app).found["relations"]
        assert "crm:owner (1)" in dict(overview(app).lines())["not listed"]


def test_a_source_whose_namespace_is_renamed_is_read_and_the_old_facts_stay(tmp_path: Path) -> None:
    micro = make(tmp_path / "world", thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")
    micro.say({"Blue House": "Anna"})
    synced(micro)
    text = micro.home.config.read_text()
    micro.home.config.write_text(
        text.replace("namespace = 'crm'", "namespace = 'acme'").replace("crm:owner", "acme:owner")
    )
    micro.say({"Red Boat": "Bob"}, name="9")
    report = synced(micro)
    assert [run.state for run in report.runs] == ["deployed"]
    assert report.unavailable == {}
    with micro.application() as app, app.leading() as leadership:
        reconcile(app, leadership)
        with app.state.read() as tx:
            live = tx.live()
            assert live is not None
            assert {fact.relation for fact in tx.view_facts(live.view)} == {"crm:owner", "acme:owner"}
