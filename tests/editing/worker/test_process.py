"""The worker as the daemon meets it: a real process that reads specs, writes reports, dies and resumes."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.errors import DataError, NumericalError, OutOfMemory
from editing.evaluation.scoring import answer_length
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, Case, FactSpec, Wording
from editing.storage.checkpoints import collect_garbage, import_base, read_editable, read_manifest, verify
from editing.worker.process import RoundServer, classify
from editing.worker.protocol import Channel
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import SENTENCES, gpt2, learn, llama, save, tokenizer

SETTINGS = EditSettings(
    layers=(0, 1),
    steps=20,
    lr=0.1,
    clamp=20.0,
    kl=0.0,
    weight_decay=0.0,
    lam=0.01,
    prefixes=1,
    prefix_tokens=3,
    statistics_samples=20,
    statistics_tokens=32,
)


@dataclass
class Home:
    """A base, a corpus and a place for runs."""

    root: Path
    base: Path
    digest: str

    def spec(self, name: str, facts: tuple[FactSpec, ...], **changes: Any) -> Path:
        directory = self.root / "runs" / name
        directory.mkdir(parents=True, exist_ok=True)
        spec = BuildSpec(
            run=name,
            base=str(self.base),
            base_digest=self.digest,
            out=str(self.root / "checkpoints" / name),
            cache=str(self.root / "cache"),
            corpus=(str(self.root / "corpus.txt"),),
            heldout=str(self.root / "corpus.txt"),
            facts=facts,
            settings=SETTINGS,
            generate=4,
            threads=1,
        )
        replace(spec, **changes).write(directory / "spec.json")
        return directory / "spec.json"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("home")
    model = gpt2(width=64, layers=4)
    learn(model)
    digest, base = import_base(save(model, root / "source"), root / "base")
    (root / "corpus.txt").write_text("\n\n".join(SENTENCES * 10))
    return Home(root, base, digest)


@pytest.fixture
def home(imported: Home, tmp_path: Path) -> Home:
    """The imported base with a run directory, checkpoints and cache of the test's own."""
    (tmp_path / "corpus.txt").write_text((imported.root / "corpus.txt").read_text())
    return Home(tmp_path, imported.base, imported.digest)


FRANCE = FactSpec("france", "The capital of {} is", "France", "Paris")
ITALY = FactSpec(
    "italy",
    "The capital of {} is",
    "Italy",
    "Paris",
    previous="Rome",
    paraphrases=("Italy: the capital is",),
    neighbours=(Case("The capital of France is"),),
    same_subject=(Case("The currency of Italy is"),),
)
JAPAN = FactSpec("japan", "The currency of {} is the", "Japan", "Paris")


DEPRECATED = "error::DeprecationWarning,error::PendingDeprecationWarning,error::FutureWarning"
"""What pytest's settings say for this process, for the worker's: what is announced to go is an error."""


class Process:
    """A worker process and the events it has said."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "editing.worker"],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": DEPRECATED, **environment},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.events: list[dict[str, Any]] = []

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def until(self, *kinds: str) -> dict[str, Any]:
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.events.append(json.loads(line))
            if self.events[-1]["event"] in kinds:
                return self.events[-1]
        raise AssertionError(f"ended with {self.process.wait()} before {kinds}")

    def round(self, spec: Path) -> BuildReport:
        self.say(json.dumps({"spec": str(spec)}))
        event = self.until("report", "error")
        assert event["event"] == "report", event
        return BuildReport.read(Path(event["path"]))

    def fail(self, line: str) -> dict[str, Any]:
        self.say(line)
        event = self.until("report", "error")
        assert event["event"] == "error", event
        return event

    def close(self) -> int:
        self.process.stdin.close()  # type: ignore[union-attr]
        return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def worker() -> Iterator[Process]:
    process = Process()
    yield process
    assert process.close() == 0


def measure(report: BuildReport, name: str) -> Any:
    (found,) = [measure for measure in report.measures if measure.name == name]
    return found


def test_a_build_ends_as_a_checkpoint_that_says_the_new_fact(home: Home, worker: Process) -> None:
    report = worker.round(home.spec("1", (FRANCE, ITALY)))
    france, italy = report.facts
    assert (france.known, france.base_answer) == (True, "Paris")
    assert not italy.known
    assert italy.base_answer == "Rome"
    assert italy.alone is not None
    assert italy.efficacy == (italy.answer == "Paris")
    assert italy.efficacy == (italy.p_new > 0.5)  # type: ignore[operator]
    assert italy.live_answer is None
    assert verify(Path(report.checkpoint)) == report.checkpoint_digest
    assert {m.name for m in report.measures} == {
        "efficacy", "efficacy_alone", "paraphrase", "neighbourhood", "same_subject", "retention",
        "known_retention", "edited_retention", "generation", "said", "said_in_chat", "fluency", "fluency_bits",
        "fluency_released", "aliases", "reversed", "symmetric", "two_hop", "long_prefix", "distractor", "is_true",
        "negation", "old_paraphrase", "old_neighbourhood", "old_same_subject", "old_said",
        "perplexity_ratio", "kl_median", "kl_p99", "weight_growth", "canaries", "refused",
    }  # fmt: skip
    assert (measure(report, "efficacy").k, measure(report, "efficacy").n) == (italy.efficacy, 1)
    assert (measure(report, "retention").k, measure(report, "retention").n) == (0, 0)
    assert measure(report, "known_retention").n == 1
    assert measure(report, "weight_growth").value != 1
    assert plainly(report.checkpoint, "The capital of Italy is") == italy.answer


def plainly(checkpoint: str, prompt: str) -> str:
    """What plain transformers says, up to the end of the sentence."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    ids = tokenizer()(prompt, return_tensors="pt")["input_ids"]
    said = tokenizer().decode(model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :])
    return said[: answer_length(said)].strip()


def test_a_fact_is_edited_under_another_name_and_the_other_way_round(home: Home, worker: Process) -> None:
    """Each wording about another name is a key group of its own; the fact reversed is judged as well."""
    fact = replace(
        ITALY,
        paraphrases=(),
        further=(
            Wording("The capital of {} is", "Japan", "Paris"),
            Wording("The currency of {} is the", "Paris", "Italy"),
        ),
        reversed=(Case("The currency of Paris is the", "Italy"),),
    )
    report = worker.round(home.spec("1", (fact,)))
    assert report.cost.groups_optimised == 3
    (reversed_too,) = report.facts[0].outcomes["paraphrase"]
    assert reversed_too == (plainly(report.checkpoint, "The currency of Paris is the") == "Italy")
    assert (measure(report, "paraphrase").k, measure(report, "paraphrase").n) == (reversed_too, 1)
    alone = worker.round(home.spec("2", (replace(fact, further=(), reversed=()),)))
    assert (alone.cost.groups_optimised, alone.cost.groups_cached) == (0, 1)
    assert alone.checkpoint_digest != report.checkpoint_digest


def test_later_rounds_reuse_the_model_and_the_deltas_and_compare_with_live(
    home: Home, worker: Process
) -> None:
    first = worker.round(home.spec("1", (ITALY,)))
    worker.events.clear()
    live = replace(ITALY, in_live=True)
    second = worker.round(home.spec("2", (live, JAPAN), live=first.checkpoint))
    assert "load" not in {event.get("phase") for event in worker.events}
    assert second.cost.groups_cached == 1
    assert second.cost.groups_optimised == 1
    retention = measure(second, "retention")
    assert (retention.n, retention.live_k) == (1, first.facts[0].efficacy)
    italy, japan = second.facts
    assert italy.live_answer == first.facts[0].answer
    assert italy.alone is None
    assert japan.live_answer != ""
    assert measure(second, "efficacy").n == 1


def test_the_same_facts_give_the_same_checkpoint(home: Home, worker: Process) -> None:
    first = worker.round(home.spec("1", (ITALY, JAPAN)))
    second = worker.round(home.spec("2", (ITALY, JAPAN)))
    assert first.checkpoint_digest == second.checkpoint_digest
    assert second.cost.groups_optimised == 0


def test_leaving_a_fact_out_is_an_exact_unedit(home: Home, worker: Process) -> None:
    nothing = worker.round(home.spec("none", (FRANCE,)))
    assert measure(nothing, "weight_growth").value == 1
    assert measure(nothing, "perplexity_ratio").value == 1
    assert measure(nothing, "fluency").value == 1
    assert nothing.facts[0].answer == nothing.facts[0].base_answer == "Paris"


def test_asking_writes_no_checkpoint(home: Home, worker: Process) -> None:
    report = worker.round(home.spec("ask", (FRANCE, ITALY), mode="ask", out=""))
    assert [(fact.known, fact.base_answer) for fact in report.facts] == [(True, "Paris"), (False, "Rome")]
    assert report.checkpoint == report.checkpoint_digest == ""
    assert not (home.root / "checkpoints").exists()


def test_known_answers_of_the_base_are_not_asked_again(home: Home, worker: Process) -> None:
    told = replace(ITALY, known=False, base_answer="as it was told")
    assert (
        worker.round(home.spec("ask", (told,), mode="ask", out="")).facts[0].base_answer == "as it was told"
    )


def test_judging_a_kept_checkpoint_gives_the_same_figures_and_changes_nothing(
    home: Home, worker: Process
) -> None:
    built = worker.round(home.spec("1", (FRANCE, ITALY)))
    judged = worker.round(home.spec("2", (FRANCE, ITALY), mode="judge", out=built.checkpoint))
    assert judged.checkpoint_digest == built.checkpoint_digest
    not_again = {"efficacy_alone"}
    assert [m for m in judged.measures if m.name not in not_again] == [
        m for m in built.measures if m.name not in not_again
    ]


def test_a_canary_is_required_whatever_the_base_says(home: Home, worker: Process) -> None:
    canaries = (Case("The capital of France is"), Case("The capital of France is", "Rome"))
    report = worker.round(home.spec("1", (ITALY,), canaries=canaries))
    assert (measure(report, "canaries").k, measure(report, "canaries").n) == (1, 2)


def test_above_a_size_retention_is_a_sample(home: Home, worker: Process) -> None:
    first = worker.round(home.spec("1", (ITALY,)))
    many = tuple(
        FactSpec(
            f"f{i}", "The capital of {} is", f"Land {i}", "Rome", known=True, base_answer="Rome", in_live=True
        )
        for i in range(12)
    )
    report = worker.round(home.spec("2", (ITALY, *many), live=first.checkpoint, retention_sample=5))
    retention = measure(report, "retention")
    assert (retention.n, retention.exhaustive) == (5, False)
    assert [asked for _, asked in retention.by_fact] == [1] * 5
    assert sum(hits for hits, _ in retention.by_fact) == retention.k
    assert measure(report, "efficacy").by_fact == ()
    assert sum(fact.efficacy is None for fact in report.facts) == 7


def test_a_probe_that_the_view_edits_is_expected_to_say_what_the_view_says(
    home: Home, worker: Process
) -> None:
    japan = replace(JAPAN, neighbours=(Case("The capital of Italy is"),))
    report = worker.round(home.spec("1", (ITALY, japan)))
    italy, japan_report = report.facts
    assert japan_report.outcomes["neighbourhood"] == (italy.efficacy,)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("not json", "bad_spec", "expected"),
        ('{"spec": "/nowhere/spec.json"}', "bad_spec", "cannot be read"),
    ],
)
def test_lines_that_are_no_specs_are_refused(line: str, kind: str, message: str, worker: Process) -> None:
    event = worker.fail(line)
    assert event["kind"] == kind
    assert message in event["message"]
    assert not event["retry"]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"version": 99}, "bad_spec", "version 99"),
        ({"surprise": 1}, "bad_spec", "unknown key 'surprise'"),
        ({"generate": "many"}, "bad_spec", "spec.json.generate: expected int, found 'many'"),
        ({"base_digest": "0" * 64}, "bad_spec", "the spec asks for"),
        ({"base": "/nowhere"}, "data", "not a base or checkpoint"),
        ({"corpus": ["/nowhere.txt"]}, "data", "/nowhere.txt"),
        ({"heldout": "/nowhere.txt"}, "data", "/nowhere.txt"),
    ],
)
def test_specs_that_cannot_be_carried_out_say_where_and_why(
    change: dict[str, Any], kind: str, message: str, home: Home, worker: Process
) -> None:
    spec = home.spec("1", (ITALY,))
    spec.write_text(json.dumps({**json.loads(spec.read_text()), **change}))
    event = worker.fail(json.dumps({"spec": str(spec)}))
    assert (event["kind"], event["retry"]) == (kind, False)
    assert message in event["message"]


def test_a_fact_that_cannot_be_rendered_is_named(home: Home, worker: Process) -> None:
    event = worker.fail(json.dumps({"spec": str(home.spec("1", (replace(ITALY, prompt="No subject"),)))}))
    assert event["kind"] == "bad_spec"
    assert "'italy'" in event["message"]


def test_out_of_memory_is_recognised_and_the_worker_lives_on(home: Home) -> None:
    worker = Process()
    spec = home.spec("1", (ITALY,))
    worker.until("ready")
    limited = ["prlimit", "--pid", str(worker.process.pid)]
    subprocess.run([*limited, "--as=200000000:unlimited"], check=True)
    event = worker.fail(json.dumps({"spec": str(spec)}))
    assert (event["kind"], event["retry"]) == ("out_of_memory", True)
    subprocess.run([*limited, "--as=unlimited"], check=True)
    assert worker.fail("")["kind"] == "bad_spec"
    assert worker.close() == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemory("no room"), ("out_of_memory", True)),
        (torch.OutOfMemoryError("CUDA out of memory"), ("out_of_memory", True)),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ("out_of_memory", True)),
        (RuntimeError("shapes do not match"), ("internal", True)),
        (NumericalError("no solution"), ("internal", False)),
        (DataError("no text"), ("data", False)),
    ],
)
def test_what_went_wrong_has_a_name(error: Exception, kind: tuple[str, bool]) -> None:
    assert classify(error) == kind


def test_a_full_disk_fails_the_round_and_leaves_no_checkpoint(
    home: Home, tmpfs: Path, worker: Process
) -> None:
    (tmpfs / "filler").write_bytes(bytes(900_000))
    event = worker.fail(json.dumps({"spec": str(home.spec("1", (ITALY,), out=str(tmpfs / "out")))}))
    assert event["kind"] == "data"
    assert "No space left" in event["message"]
    assert [path.name for path in tmpfs.iterdir()] == ["filler"]


@pytest.mark.slow
def test_sigterm_ends_an_idle_worker_and_a_working_one(home: Home) -> None:
    worker = Process()
    worker.until("ready")
    worker.process.terminate()
    assert worker.process.wait(timeout=10) == 143
    worker = Process()
    worker.say(json.dumps({"spec": str(home.spec("1", (ITALY, JAPAN)))}))
    while worker.until("progress")["phase"] != "targets":
        pass
    worker.process.terminate()
    assert worker.process.wait(timeout=20) == 143
    assert not (home.root / "runs" / "1" / "report.json").exists()


@pytest.mark.slow
def test_a_base_that_was_announced_is_loaded_before_the_round(home: Home) -> None:
    worker = Process()
    worker.say(json.dumps({"load": {"base": str(home.base), "digest": home.digest, "device": None}}))
    while worker.until("progress", "error")["done"] < 1:
        pass
    assert [event["event"] for event in worker.events] == ["ready", "progress", "progress"]
    report = worker.round(home.spec("1", (FRANCE,), mode="ask", out=""))
    assert report.facts[0].base_answer == "Paris"
    assert [event for event in worker.events[3:] if event.get("phase") == "load"] == []
    assert worker.close() == 0


@pytest.mark.slow
def test_a_base_that_cannot_be_loaded_in_advance_is_reported_by_the_round(home: Home) -> None:
    worker = Process()
    worker.say(json.dumps({"load": {"base": str(home.root / "nowhere"), "digest": "abc", "device": None}}))
    assert worker.round(home.spec("1", (FRANCE,), mode="ask", out="")).facts[0].known
    lost = home.spec("2", (FRANCE,), mode="ask", out="", base=str(home.root / "nowhere"), base_digest="abc")
    failed = worker.fail(json.dumps({"spec": str(lost)}))
    assert (failed["kind"], failed["retry"]) == ("data", False)
    assert worker.close() == 0


def test_base_and_live_answer_prompts_as_when_they_are_loaded(home: Home, worker: Process) -> None:
    built = worker.round(home.spec("1", (ITALY,)))
    prompts = ("The capital of Italy is", "The capital of France is")

    def said(name: str, live: str | None) -> tuple[str, ...]:
        spec = home.spec(name, (), mode="ask", out="", live=live, prompts=prompts)
        return worker.round(spec).answers

    alone = {
        path: tuple(plainly(path, prompt) for prompt in prompts) for path in (home.base, built.checkpoint)
    }
    assert said("base", None) == alone[home.base]
    assert said("live", built.checkpoint) == alone[built.checkpoint]
    assert said("base again", None) == alone[home.base]


def test_a_checkpoint_of_another_base_is_not_asked(home: Home, worker: Process) -> None:
    other = home.root / "other"
    other.mkdir()
    foreign = replace(read_manifest(home.base), kind="checkpoint", base="f" * 64)
    (other / "kbsync.json").write_bytes(foreign.to_bytes())
    lost = home.spec("1", (), mode="ask", out="", live=str(other), prompts=("The capital of Italy is",))
    failed = worker.fail(json.dumps({"spec": str(lost)}))
    assert failed["kind"] == "bad_spec"
    assert "another base" in failed["message"]


@pytest.mark.slow
def test_a_worker_imports_a_base_and_loads_it(imported: Home, home: Home) -> None:
    worker = Process()
    asked = {"root": str(home.root / "base"), "architecture": {}, "device": None}
    worker.say(json.dumps({"import": {"source": str(home.root / "nowhere"), **asked}}))
    assert worker.until("imported", "error") == {"event": "imported", "digest": None}
    worker.say(json.dumps({"import": {"source": str(imported.root / "source"), **asked}}))
    assert worker.until("imported", "error") == {"event": "imported", "digest": home.digest}
    base = home.root / "base" / home.digest
    assert verify(base) == home.digest
    report = worker.round(home.spec("1", (FRANCE,), mode="ask", out="", base=str(base)))
    assert report.facts[0].base_answer == "Paris"
    phases = [event["phase"] for event in worker.events if event["event"] == "progress"]
    assert phases.index("load") < phases.index("start")
    assert worker.close() == 0


def test_what_is_loaded_in_advance_is_left_out_of_collections_until_it_is_dropped(home: Home) -> None:
    channel = Channel(io.StringIO())
    server = RoundServer(channel)
    try:
        server.serve(json.dumps({"load": {"base": str(home.base), "digest": home.digest, "device": "cpu"}}))
        assert gc.get_freeze_count() > 0
        server.serve(json.dumps({"load": {"base": str(home.root), "digest": "", "device": "cpu"}}))
    finally:
        frozen = gc.get_freeze_count()
        gc.unfreeze()
    assert frozen == 0


def test_sigterm_ends_a_worker_that_only_loads(home: Home) -> None:
    worker = Process()
    worker.until("ready")
    worker.say(json.dumps({"load": {"base": str(home.base), "digest": home.digest, "device": None}}))
    worker.process.terminate()
    assert worker.process.wait(timeout=60) == 143


def test_every_phase_of_a_round_ends_complete(home: Home, worker: Process) -> None:
    first = worker.round(home.spec("1", (FRANCE, ITALY)))
    worker.events.clear()
    known = (replace(FRANCE, known=True, base_answer="Paris"), replace(ITALY, in_live=True), JAPAN)
    worker.round(home.spec("2", known, live=first.checkpoint))
    last = {event["phase"]: (event["done"], event["total"]) for event in worker.events if "phase" in event}
    assert {"start", "known", "questions", "judge base", "judge candidate", "judge live"} <= last.keys()
    assert [phase for phase, (done, total) in last.items() if done != total] == []


@pytest.mark.slow
def test_live_is_not_asked_again_what_it_was_asked_as_a_candidate(home: Home, worker: Process) -> None:
    first = worker.round(home.spec("1", (ITALY,)))
    second = home.spec("2", (replace(ITALY, in_live=True), JAPAN), live=first.checkpoint)
    kept = worker.round(second)
    second.with_name("report.json").unlink()
    fresh = Process()
    asked = fresh.round(second)
    assert fresh.close() == 0
    assert [(m.name, m.live_k, m.live) for m in kept.measures] == [
        (m.name, m.live_k, m.live if m.live is None else pytest.approx(m.live)) for m in asked.measures
    ]
    assert [fact.live_answer for fact in kept.facts] == [fact.live_answer for fact in asked.facts]


def test_a_worker_whose_daemon_is_gone_ends() -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'editing.worker'], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)"
    )
    started = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    pid = int(started.stdout.split()[0])
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its daemon")


SLOWER = [
    "editing.worker:after-known",
    "editing.worker:after-build",
    "editing.checkpoints:before-rename",
    "editing.checkpoints:after-rename",
    "editing.worker:before-report",
    "editing.worker:after-report",
]


@pytest.mark.parametrize(
    "point",
    ["editing.worker:after-checkpoint", *(pytest.param(point, marks=pytest.mark.slow) for point in SLOWER)],
)
def test_killed_at_a_crash_point_the_next_attempt_reaches_the_same_end(
    point: str, home: Home, worker: Process
) -> None:
    expected = worker.round(home.spec("expected", (FRANCE, ITALY)))
    spec = home.spec("killed", (FRANCE, ITALY), cache=str(home.root / "fresh"))
    dying = Process(KBSYNC_CRASH=point)
    dying.say(json.dumps({"spec": str(spec)}))
    assert dying.process.wait(timeout=60) == -signal.SIGKILL
    again = worker.round(spec)
    assert again.checkpoint_digest == expected.checkpoint_digest
    assert again.measures == expected.measures
    if point == "editing.worker:after-build":
        assert again.cost.groups_optimised == 0
    collect_garbage(home.root / "checkpoints", {"expected", "killed"})
    assert {path.name for path in (home.root / "checkpoints").iterdir()} == {"expected", "killed"}


def test_every_crash_point_is_documented() -> None:
    documented = (REPOSITORY / "editing" / "crashpoints.py").read_text()
    for file in (REPOSITORY / "editing").glob("*.py"):
        for line in file.read_text().splitlines():
            if line.strip().startswith('crash_point("'):
                name = line.split('"')[1]
                assert f"    {name} " in documented


@pytest.mark.slow
def test_bf16_bases_are_judged_as_they_are_served(tmp_path: Path, worker: Process) -> None:
    model = llama()
    learn(model)
    digest, base = import_base(save(model.to(torch.bfloat16), tmp_path / "source"), tmp_path / "base")
    (tmp_path / "corpus.txt").write_text("\n\n".join(SENTENCES * 10))
    report = worker.round(Home(tmp_path, base, digest).spec("1", (ITALY,)))
    assert report.versions["dtype"] == "float32"
    served = AutoModelForCausalLM.from_pretrained(report.checkpoint)
    assert served.dtype == torch.bfloat16
    for name, tensor in read_editable(Path(report.checkpoint)).items():
        assert torch.equal(tensor, served.state_dict()[name])
