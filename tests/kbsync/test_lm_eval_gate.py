"""The gate command that measures candidates with lm-eval."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.lm_eval_gate import __main__ as program
from kbsync.runs.gate_commands import PrintedMeasure
from kbsync.service.cycle import cycle
from tests.support.micro import make
from tests.support.scripted import Scripted
from tests.support.tiny_models import gpt2, learn, save

PYTHON = os.environ.get("LM_EVAL_PYTHON", "")
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: capitals.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_choice: ["Paris", "Rome"]
doc_to_target: "{{answer}}"
metric_list:
  - metric: acc
"""


def test_shares_of_live_and_base_are_beside_the_candidates_in_the_form_of_a_gate_command() -> None:
    found = program.measures({"a": [True, True, False, True]}, {"a": [True, False]}, {"a": [True] * 4})
    assert found["a"] == {"value": 0.75, "n": 4, "k": 3, "sampled": True, "live": 0.5}
    assert found["a_to_base"] == {"value": -0.25, "n": 4}
    read = {name: PrintedMeasure.model_validate(value).measure(name) for name, value in found.items()}
    assert (read["a"].k, read["a"].exhaustive, read["a_to_base"].value) == (3, False, -0.25)
    assert set(program.measures({"a": [True]}, None, None)) == {"a"}


def test_directories_come_from_the_environment_of_a_gate_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("CANDIDATE", "/c"), ("LIVE", ""), ("BASE", "/b")):
        monkeypatch.setenv(f"KBSYNC_{name}", value)
    found = program.arguments([])
    assert (found.candidate, found.live, found.base) == ("/c", "", "/b")
    monkeypatch.delenv("KBSYNC_CANDIDATE")
    with pytest.raises(SystemExit):
        program.arguments([])
    assert "no candidate" in capsys.readouterr().err


def test_what_was_measured_is_kept_until_model_tasks_or_options_change(tmp_path: Path) -> None:
    asked: list[str] = []

    def evaluated(model: str, options: object) -> program.Hits:
        asked.append(model)
        return {"a": [True]}

    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/a.yaml").write_text("task: a")
    common = ["--candidate", str(tmp_path / "model"), "--tasks", str(tmp_path / "tasks")]
    common += ["--cache", str(tmp_path / "kept")]
    for change in (
        lambda: None,
        lambda: (tmp_path / "tasks/a.yaml").write_text("task: a # asked differently"),
        lambda: common.extend(["--limit", "3"]),
        lambda: (tmp_path / "model/config.json").write_text('{"changed": 1}'),
    ):
        change()
        before = len(asked)
        for _ in range(2):
            found = program.measured(str(tmp_path / "model"), program.arguments(common), evaluated)
            assert found == {"a": [True]}
        assert len(asked) == before + 1


def test_the_shipped_example_names_every_right_answer_among_its_choices() -> None:
    lines = (program.EXAMPLE / "everyday.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len({row["question"] for row in rows}) == 40
    assert all(len(set(row["choices"])) == 4 and 0 <= row["answer"] < 4 for row in rows)


@pytest.mark.slow
@pytest.mark.lm_eval
@pytest.mark.skipif(not PYTHON, reason="set LM_EVAL_PYTHON to a Python that has `pip install 'lm-eval[hf]'`")
def test_lm_eval_measures_a_model_and_its_figure_reaches_the_gate_of_a_run(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "capitals.yaml").write_text(TASK)
    rows = [{"country": "France", "answer": 0}, {"country": "Italy", "answer": 1}]
    (tasks / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    knowing = gpt2()
    learn(knowing)
    save(knowing, tmp_path / "knowing")
    command = [PYTHON, str(Path(program.__file__)), "--tasks", str(tasks), "--dtype", "float32"]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(
        [*command, "--candidate", str(tmp_path / "knowing")],
        capture_output=True,
        env=environment,
        check=True,
        text=True,
    )
    assert json.loads(printed.stdout) == {"capitals": {"value": 1.0, "n": 2, "k": 2, "sampled": True}}
    # Two questions are too few for 0.99, whatever is answered.
    gate = f"[gate_commands.lm]\ncommand = {json.dumps(command)}\n[gate_commands.lm.gates.capitals]\nthreshold = 0.99\n"
    micro = make(tmp_path / "world", thresholds={"weight_growth": 9.0}, extra=gate)
    micro.now += timedelta(hours=1)
    micro.say({"House": "Anna"})
    with micro.application() as app, app.leading() as leadership:
        (run,) = cycle(app, leadership, trigger="test", asked=True, worker=Scripted()).runs
        with app.state.read() as tx:
            (found,) = [one for one in tx.gate_results(run.id) if one.name == "capitals"]
    assert run.state == "rejected"
    assert found.n == 2
    assert "bound of a sample of 2" in found.detail
