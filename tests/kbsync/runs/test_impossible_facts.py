"""One impossible fact costs itself alone: the others are built and promoted in the same sync."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec
from kbsync.service.cycle import CycleReport, cycle
from state.records import Fact
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted

LONG = ("long " * 60).strip()


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    micro = make(tmp_path, thresholds={})
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(
        text.replace("living = 'on'", "living = 'on'\nlabel_max = 1000"), encoding="utf-8"
    )
    return micro


def scripted(micro: Micro, facts: dict[str, str | None]) -> CycleReport:
    """A cycle whose worker cannot build objects ending in `?`, nor even ask those ending in `??`."""
    micro.say(facts)
    app = micro.application()
    with app, app.leading() as leadership:
        return cycle(app, leadership, trigger="test", worker=Scripted())


def live(micro: Micro) -> dict[str, str]:
    with micro.application() as app, app.state.read() as tx:
        found = tx.live()
        return {} if found is None else {f.subject_label: f.target for f in tx.view_facts(found.view)}


def quarantined(micro: Micro) -> list[Fact]:
    with micro.application() as app, app.state.read() as tx:
        return list(tx.facts(status="quarantined"))


@pytest.mark.parametrize(
    ("subject", "owner", "code"),
    [
        (LONG, "Anna", "too_long"),
        ("Red Boat", LONG, "too_long"),
        ("Red <|endoftext|>", "Anna", "label_special"),
        ("Red Boat", "Anna<|endoftext|>", "label_special"),
    ],
)
def test_a_label_that_the_model_cannot_take_costs_its_own_fact(
    subject: str, owner: str, code: str, micro: Micro
) -> None:
    micro.home.config.write_text(
        micro.home.config.read_text()
        + "\n\n[gates.efficacy]\nthreshold = 0.0\n[gates.paraphrase]\nenabled = false"
        "\n[gates.said]\nenabled = false\n[gates.fluency]\nenabled = false\n[gates.perplexity_ratio]\n"
        "enabled = false\n[gates.weight_growth]\nenabled = false\n[gates.neighbourhood]\nenabled = false\n"
        "[gates.retention]\nenabled = false\n[gates.edited_retention]\nenabled = false\n"
        "[gates.known_retention]\nenabled = false\n"
        "[gates.same_subject]\nenabled = false"
    )
    micro.say({"Blue House": "Bob", subject: owner, "Old Mill": "Carl"})
    report = micro.sync()
    assert [run.state for run in report.runs] == ["deployed"]
    assert live(micro) == {"Blue House": "Bob", "Old Mill": "Carl"}
    (bad,) = quarantined(micro)
    assert (bad.target, bad.reason_code) == (owner, code)
    assert micro.sync().runs == ()


@pytest.mark.parametrize("owner", ["Emil?", "Emil??"])
def test_what_fails_when_it_is_asked_or_built_leaves_the_others_to_be_promoted(
    owner: str, micro: Micro
) -> None:
    report = scripted(micro, {"Blue House": "Anna", "Red Boat": owner})
    assert [(run.state, run.round) for run in report.runs] == [("deployed", 1)]
    assert live(micro) == {"Blue House": "Anna"}
    (bad,) = quarantined(micro)
    assert bad.reason == f"{owner} is hopeless"


@pytest.mark.parametrize("owner", ["Emil?", "Emil??"])
def test_live_s_own_value_stays_where_its_successor_cannot_be_built(owner: str, micro: Micro) -> None:
    scripted(micro, {"Blue House": "Anna", "Red Boat": "Bob"})
    report = scripted(micro, {"Red Boat": owner, "Old Mill": "Carl"})
    assert [run.state for run in report.runs] == ["deployed"]
    assert live(micro) == {"Blue House": "Anna", "Red Boat": "Bob", "Old Mill": "Carl"}
    assert scripted(micro, {}).runs == ()


@pytest.mark.parametrize("owner", ["Emil?", "Emil??"])
def test_where_nothing_is_left_live_stays_as_it_is(owner: str, micro: Micro) -> None:
    scripted(micro, {"Blue House": "Anna"})
    report = scripted(micro, {"Red Boat": owner})
    assert [run.state for run in report.runs] in ([], ["rejected"])
    assert live(micro) == {"Blue House": "Anna"}
    assert scripted(micro, {}).runs == ()


def test_an_impossible_fact_uses_up_no_round(micro: Micro) -> None:
    text = micro.home.config.read_text().replace("[plan]\n", "[plan]\nrounds = 2\n")
    micro.home.config.write_text(text)
    scripted(micro, {"Blue House": "Anna", "Red Boat": "Bob"})
    facts = {"Red Boat": "Emil?", "Old Mill": "Carl!", "Green Barn": "Dora", "White Tower": "Frida"}
    report = scripted(micro, facts)
    assert [run.state for run in report.runs] == ["deployed"]
    assert {f.target for f in quarantined(micro)} == {"Emil?", "Carl!"}
    assert live(micro)["Red Boat"] == "Bob"


def test_a_corrected_label_is_let_in(micro: Micro) -> None:
    scripted(micro, {"Blue House": "Anna", "Red Boat": "Emil??"})
    report = scripted(micro, {"Red Boat": "Emil"})
    assert [run.state for run in report.runs] == ["deployed"]
    assert live(micro) == {"Blue House": "Anna", "Red Boat": "Emil"}


class Steered(Scripted):
    """Finds a control token in what ends in `??` or `?`, which looks clean as text."""

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        report = super().execute(spec, progress)
        found = tuple(replace(failure, code="label_special") for failure in report.failures)
        steered = replace(report, failures=found)
        steered.write(spec.with_name("report.json"))
        return steered


@pytest.mark.parametrize("owner", ["Emil?", "Emil??"])
def test_a_control_token_that_only_the_tokenizer_sees_costs_its_fact_once(owner: str, micro: Micro) -> None:
    def synced(facts: dict[str, str | None]) -> CycleReport:
        micro.say(facts)
        with micro.application() as app, app.leading() as leadership:
            return cycle(app, leadership, trigger="test", worker=Steered())

    report = synced({"Blue House": "Anna", "Red Boat": owner})
    assert [(run.state, run.round) for run in report.runs] == [("deployed", 1)]
    (bad,) = quarantined(micro)
    assert (bad.target, bad.reason_code) == (owner, "control_token")
    with micro.application() as app:
        app.intake().readmit([(bad.subject, bad.relation)])
    assert synced({"Red Boat": owner}).runs == ()
    assert quarantined(micro) == [bad], "it is neither let in again nor quarantined again"
    assert [run.state for run in synced({"Red Boat": "Emil"}).runs] == ["deployed"]
    assert live(micro) == {"Blue House": "Anna", "Red Boat": "Emil"}


def test_what_could_not_be_built_under_other_settings_is_tried_again_on_demand(micro: Micro) -> None:
    from kbsync.settings.in_force import is_stale, judged_under

    scripted(micro, {"Blue House": "Anna", "Red Boat": "Emil?"})
    (bad,) = quarantined(micro)
    with micro.application() as app, app.state.read() as tx:
        evidence = tx.evidence([bad.id])[bad.id]
        now, base = judged_under(app.settings, app.gates), app.base.digest
    assert not is_stale(evidence, now, base)
    assert is_stale(evidence, "other settings", base)
    assert is_stale(evidence, now, "another base")


def test_a_probe_or_alias_with_a_control_token_is_not_asked_and_its_fact_is_edited(micro: Micro) -> None:
    name = "{}-{}.jsonl".format("facts", 1)
    row = {
        "subject": "house",
        "subject_label": "Blue House",
        "subject_aliases": ["Casa <|endoftext|> Blu", "Casa Blu"],
        "relation": "owner",
        "object": "Anna",
    }
    (micro.drop / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    report = scripted(micro, {"Old Mill": "Carl"})
    (run,) = report.runs
    assert run.state == "deployed"
    spec = BuildSpec.read(micro.home.round(run.id, 1).spec)
    (house,) = [fact for fact in spec.facts if fact.subject == "Blue House"]
    assert any("Casa Blu" in prompt for prompt in house.paraphrases)
    assert not any("<|" in prompt for prompt in house.paraphrases)
