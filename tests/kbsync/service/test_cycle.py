"""Whole cycles on a micro kbsync: real files, real worker process, real ledger, real checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from editing.progress import TimedProgress, silent
from editing.spec import BuildReport
from editing.storage import checkpoints
from kbsync.announced import Announced, AnnouncedBase, ModelToImport
from kbsync.errors import TryLater, UsageError
from kbsync.intake import quarantine
from kbsync.runs import promotion
from kbsync.service.cycle import CycleReport, cycle
from tests.support.micro import NEVER_FAIL, Micro, make
from tests.support.scripted import Scripted
from tests.support.tiny_models import gpt2, save

FACTS = {"Blue House": "Anna", "Red Boat": "Bob", "Old Mill": "Carl"}


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    return make(tmp_path)


def live_digest(micro: Micro) -> str:
    app = micro.application()
    with app.state.read() as tx:
        live = tx.live()
    app.close()
    assert live is not None
    assert checkpoints.verify(micro.home.live.resolve()) == live.digest
    return live.digest


def test_facts_in_a_file_end_as_a_promoted_checkpoint(micro: Micro) -> None:
    micro.say(FACTS)
    report = micro.sync()
    assert [run.state for run in report.runs] == ["deployed"]
    assert live_digest(micro)
    app = micro.application()
    with app.state.read() as tx:
        live = tx.live()
        assert live is not None
        assert {fact.target for fact in tx.view_facts(live.view)} == set(FACTS.values())
        names = [gate.name for gate in tx.gate_results(1)]
    app.close()
    assert {"efficacy", "retention", "perplexity_ratio"} <= set(names)


def test_a_second_sync_has_nothing_to_do(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    before = live_digest(micro)
    report = micro.sync()
    assert report.runs == ()
    assert "already holds" in report.nothing
    assert live_digest(micro) == before


def test_a_b_a_before_promotion_starts_no_run(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    micro.say({"Blue House": "Dora"})
    app = micro.application()
    from kbsync.service.reading import pull

    pull(app)
    app.close()
    micro.say({"Blue House": "Anna"})
    assert micro.sync().runs == ()


def test_a_b_a_after_promotion_takes_the_kept_checkpoint_and_rebuilds_nothing(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    first = live_digest(micro)
    micro.say({"Blue House": "Dora"})
    micro.sync()
    assert live_digest(micro) != first
    micro.say({"Blue House": "Anna"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    assert live_digest(micro) == first
    spec = json.loads((micro.home.run(run.id) / "round-1" / "spec.json").read_text())
    assert spec["mode"] == "judge"


def test_only_changed_facts_are_optimised(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    micro.say({"Red Boat": "Dora"})
    (run,) = micro.sync().runs
    report = json.loads((micro.home.run(run.id) / "round-1" / "report.json").read_text())
    assert report["cost"]["groups_optimised"] == 1
    assert report["cost"]["groups_cached"] == 2


def test_a_fact_that_ends_is_left_out_which_gives_the_base_back(micro: Micro) -> None:
    micro.say({"Blue House": "Anna"})
    micro.sync()
    micro.say({"Blue House": None})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    app = micro.application()
    base = checkpoints.read_editable(app.base.directory)
    app.close()
    live = checkpoints.read_editable(micro.home.live.resolve())
    assert all(bool((live[name] == base[name]).all()) for name in base)


def test_a_failed_gate_quarantines_and_leaves_live_alone(tmp_path: Path) -> None:
    micro = make(tmp_path)
    micro.say({"Blue House": "Anna"})
    micro.sync()
    before = live_digest(micro)
    config = micro.home.config.read_text()
    micro.home.config.write_text(
        config.replace("[gates.efficacy]\nthreshold = 0.0", "[gates.efficacy]\nthreshold = 2.0")
    )
    micro.say({"Red Boat": "Bob"})
    (run,) = micro.sync().runs
    assert run.state == "rejected"
    assert live_digest(micro) == before
    app = micro.application()
    with app.state.read() as tx:
        (bad,) = tx.facts(status="quarantined")
        rejected = tx.checkpoints(status="rejected")
    app.close()
    assert bad.reason.startswith("gate efficacy")
    assert not (micro.home.checkpoints / rejected[0].path).exists()
    assert micro.sync().runs == ()


def test_rollback_goes_back_and_the_next_cycle_does_not_undo_it(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    first = live_digest(micro)
    micro.say({"Blue House": "Dora"})
    micro.sync()
    app = micro.application()
    with app.leading() as leadership:
        left, now = promotion.rollback(app, leadership, target=None, reason="wrong", actor="tester")
    app.close()
    assert live_digest(micro) == first
    assert left.id != now.id
    assert micro.sync().runs == ()
    assert live_digest(micro) == first


def test_there_is_nothing_to_roll_back_to_at_first(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    app = micro.application()
    with app.leading() as leadership, pytest.raises(UsageError):
        promotion.rollback(app, leadership, target=None, reason="x", actor="t")
    app.close()


def test_a_retracted_fact_leaves_the_next_checkpoint(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    app = micro.application()
    with app.state.read() as tx:
        fact = tx.facts(status="wanted")[0]
    quarantine.reject(app.intake(), fact.id, "not ours to say", "tester")
    app.close()
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    app = micro.application()
    with app.state.read() as tx:
        live = tx.live()
        assert live is not None
        assert fact.id not in {f.id for f in tx.view_facts(live.view)}
    app.close()


def test_a_candidate_waits_for_review_and_goes_live_when_approved(tmp_path: Path) -> None:
    from kbsync.runs import review

    micro = make(tmp_path, extra="[review]\nrequired = true")
    micro.say(FACTS)
    (run,) = micro.sync().runs
    assert run.state == "awaiting_review"
    assert checkpoints.read_live(micro.home.checkpoints) is None
    app = micro.application()
    with app.leading() as leadership:
        done = review.approve_run(app, leadership, run.id, "looks right", "reviewer")
    app.close()
    assert done.state == "deployed"
    assert live_digest(micro)


def test_a_rejected_candidate_never_goes_live(tmp_path: Path) -> None:
    from kbsync.runs import review

    micro = make(tmp_path, extra="[review]\nrequired = true")
    micro.say(FACTS)
    (run,) = micro.sync().runs
    app = micro.application()
    for without_a_word in ("", "  ", "…!"):
        with pytest.raises(UsageError, match="at least one word"):
            review.reject_run(app, run.id, without_a_word, "reviewer")
        with app.leading() as leadership, pytest.raises(UsageError, match="at least one word"):
            review.approve_run(app, leadership, run.id, without_a_word, "reviewer")
    rejected = review.reject_run(app, run.id, " no ", "reviewer")
    assert (rejected.state, rejected.reason) == ("rejected", "no")
    with app.leading() as leadership, pytest.raises(UsageError):
        review.approve_run(app, leadership, run.id, "yes", "reviewer")
    app.close()
    assert checkpoints.read_live(micro.home.checkpoints) is None


def test_a_home_in_use_is_not_worked_on_by_a_second_process(micro: Micro) -> None:
    app = micro.application()
    other = micro.application()
    with app.leading(), pytest.raises(TryLater, match="in use"), other.leading():
        pass
    app.close()
    other.close()


@pytest.mark.slow
def test_plain_transformers_loads_live_without_kbsync(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"m = AutoModelForCausalLM.from_pretrained({str(micro.home.live)!r})\n"
        f"t = AutoTokenizer.from_pretrained({str(micro.home.live)!r})\n"
        "o = m.generate(**t('The owner of Blue House is', return_tensors='pt'), max_new_tokens=2, do_sample=False)\n"
        "assert not any(n.split('.')[0] in ('kbsync', 'editing', 'state', 'connectors') for n in sys.modules)\n"
        "print(t.decode(o[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=micro.root,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    app = micro.application()
    from kbsync.queries.answers import answers

    told: list[str] = []
    (answer,) = answers(app, ["The owner of Blue House is"], told.append)
    assert told == ["loading the base", "loading live, checkpoint 1"]
    app.close()
    assert answer.live is not None
    assert answer.live.split()[0] in done.stdout


def test_every_default_gate_is_relaxed_by_the_fixture() -> None:
    from kbsync.gates import DEFAULT_GATES

    assert set(NEVER_FAIL) | {"canaries", "refused"} == {gate.name for gate in DEFAULT_GATES if gate.enabled}


def test_what_live_says_stays_wanted_when_its_successor_fails_a_gate(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    before = live_digest(micro)
    config = micro.home.config.read_text()
    failing = config.replace("[gates.efficacy]\nthreshold = 0.0", "[gates.efficacy]\nthreshold = 2.0")
    micro.home.config.write_text(failing)
    micro.say({"Blue House": "Dora"})
    assert [run.state for run in micro.sync().runs] == ["rejected"]
    micro.home.config.write_text(config)
    assert micro.sync().runs == ()
    assert live_digest(micro) == before
    app = micro.application()
    with app.state.read() as tx:
        assert {fact.target for fact in tx.facts(status="wanted")} == set(FACTS.values())
    app.close()


def test_a_view_that_its_gates_rejected_is_not_built_again_without_a_cause(tmp_path: Path) -> None:
    micro = make(tmp_path)
    config = micro.home.config.read_text(encoding="utf-8")
    strict = config.replace(
        "[gates.weight_growth]\nthreshold = 1000000000.0", "[gates.weight_growth]\nthreshold = 1.0"
    )
    assert strict != config
    micro.home.config.write_text(strict, encoding="utf-8")
    micro.say(FACTS)
    (run,) = micro.sync().runs
    assert run.state == "rejected"
    assert "weight_growth" in run.reason
    again = micro.sync()
    assert again.runs == ()
    assert "built this very view" in again.nothing
    assert "kbsync rebuild" in again.nothing
    micro.home.config.write_text(config, encoding="utf-8")
    assert [run.state for run in micro.sync().runs] == ["deployed"], "the settings have changed"


def test_the_worker_gets_ready_once_a_source_states_something_new_and_not_before(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    worker = Waiting()
    assert cycle_with(micro, worker).nothing
    assert worker.prepared == []
    micro.say({"Blue House": "Dora"})
    assert [run.state for run in cycle_with(micro, worker).runs] == ["deployed"]
    with micro.application() as app:
        (announced,) = worker.prepared
        assert isinstance(announced, AnnouncedBase)
        assert (announced.directory, announced.digest) == (app.base.directory, app.base.digest)
    assert worker.early


def test_a_base_whose_files_have_changed_is_not_announced(micro: Micro) -> None:
    micro.say(FACTS)
    micro.sync()
    save(gpt2(width=32, layers=3, seed=2), micro.root / "model")
    micro.say({"Blue House": "Dora"})
    worker = Waiting()
    cycle_with(micro, worker)
    assert worker.prepared == [None]


def test_a_model_that_was_never_imported_is_announced_to_be_imported(micro: Micro) -> None:
    micro.say(FACTS)
    worker = Waiting()
    cycle_with(micro, worker)
    (announced,) = worker.prepared
    assert isinstance(announced, ModelToImport)
    assert (announced.source, announced.root) == (micro.root / "model", micro.home.base)


class Waiting(Scripted):
    """Notes what it is announced, and whether that was before its first spec."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[Announced | None] = []
        self.early = False

    def prepare(self, base: Announced | None) -> None:
        self.prepared.append(base)

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        self.early = self.early or bool(self.prepared)
        return super().execute(spec, progress)


def cycle_with(micro: Micro, worker: Waiting) -> CycleReport:
    micro.now += timedelta(hours=1)
    with micro.application() as app, app.leading() as leadership:
        return cycle(app, leadership, trigger="test", worker=worker)
