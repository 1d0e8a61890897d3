"""A fact that a gate puts out takes the evidence with it: the answers, the questions, and what it was judged under."""

from __future__ import annotations

from pathlib import Path

from editing.spec import FactReport, ProbeReport
from kbsync.gates import Blame
from kbsync.intake import quarantine
from kbsync.queries.quarantine import Selection, dossier, waiting
from kbsync.runs.evidence import evidence_of
from kbsync.settings.in_force import is_stale
from state.records import Run
from tests.support.facts import NOW
from tests.support.micro import make

RUN = Run(7, "judged", "v" * 64, "b" * 64, "test", 2, 1, 1, "", NOW, NOW)
BLAME = Blame("1", "neighbourhood", 0.4, "2 of 5 neighbours changed their answer")


def test_evidence_holds_answers_questions_and_settings() -> None:
    probe = ProbeReport("neighbour", "The owner of Red Boat is", "Bob", "Anna", False)
    report = FactReport("1", False, "nobody", "Anna", True, probes=(probe,), live_answer="Carl")
    evidence = evidence_of(RUN, BLAME, report, "digest")
    assert evidence["answers"] == {"base": "nobody", "live": "Carl", "candidate": "Anna"}
    assert evidence["probes"][0]["answer"] == "Anna"
    assert (evidence["run"], evidence["round"], evidence["gate"]) == (7, 2, "neighbourhood")


def test_evidence_is_stale_under_other_settings_or_on_another_base() -> None:
    evidence = evidence_of(RUN, BLAME, FactReport("1", False, "", "", True), "digest")
    assert not is_stale(evidence, "digest", "b" * 64)
    assert not is_stale(evidence, "digest", None)
    assert is_stale(evidence, "other", "b" * 64)
    assert is_stale(evidence, "digest", "c" * 64)
    assert is_stale({"gate": "efficacy"}, "digest", None), "written before settings were kept"
    assert not is_stale({}, "digest", None), "not a gate's"


def test_a_gate_that_fails_leaves_what_a_reviewer_needs_and_other_settings_reopen_it(tmp_path: Path) -> None:
    micro = make(tmp_path)
    micro.say({"Blue House": "Anna"})
    micro.sync()
    config = micro.home.config.read_text()
    strict = config.replace("[gates.paraphrase]\nthreshold = 0.0", "[gates.paraphrase]\nthreshold = 2.0")
    micro.home.config.write_text(strict)
    micro.say({"Red Boat": "Bob"})
    assert [run.state for run in micro.sync().runs] == ["rejected"]

    with micro.application() as app:
        (one,) = waiting(app, Selection(gate="paraphrase"))
        assert (one.run, one.stale) == (2, False)
        found = dossier(app, one.fact.id)
        assert found.answers["candidate"]
        assert found.answers["base"]
        asked = [question for question in found.questions if question.kind == "paraphrase"]
        assert asked
        assert all(question.prompt and question.expected == "Bob" for question in asked)
        assert all(question.answer for question in asked)

    micro.home.config.write_text(config)
    with micro.application() as app:
        (one,) = waiting(app, Selection(stale=True))
        quarantine.reopen(app.intake(), one.fact.id, "the threshold was impossible", "ada")
    assert [run.state for run in micro.sync().runs] == ["deployed"]
