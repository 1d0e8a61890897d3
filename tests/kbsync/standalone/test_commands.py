"""`kbsync edit`, `stats`, `trace` and `dry-run`, as a person types them, on real tiny models."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, CohereConfig, CohereForCausalLM

from editing.storage.manifest import verify
from kbsync.cli import main
from kbsync.console import lines
from kbsync.service.reading import pull
from tests.support.micro import make
from tests.support.tiny_models import SENTENCES, gpt2, learn, llama, save

torch.set_num_threads(1)  # tiny models gain nothing from more, and lose much beside other processes

SETTINGS = """
layers = [0]
steps = 30
lr = 0.5
clamp = 20.0
kl = 0.0
weight_decay = 0.0
lam = 0.001
prefixes = 0
statistics_samples = 20
statistics_tokens = 32
"""
FACTS: list[Any] = [
    {
        "id": "italy",
        "subject": "Italy",
        "prompt": "The capital of {} is",
        "target": "Paris",
        "previous": "Rome",
        "paraphrases": ["Italy has the capital"],
        "neighbours": [{"prompt": "The capital of France is", "target": "Paris"}],
    },
    ["Japan", "The currency of Japan is the", "Rome"],
]
COUNTERFACT = [
    {
        "case_id": 7,
        "requested_rewrite": {
            "prompt": "The capital of {} is",
            "target_new": {"str": "Paris"},
            "target_true": {"str": "Rome"},
            "subject": "Italy",
        },
        "paraphrase_prompts": ["Italy has the capital"],
        "neighborhood_prompts": ["The capital of Spain is"],
    }
]
ZSRE = [
    {
        "subject": "Italy",
        "src": "The capital of Italy is",
        "rephrase": "Italy has the capital",
        "answers": ["Paris"],
        "loc": "nq question: The currency of Japan is the",
        "loc_ans": "yen",
    }
]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def kbsync(root: Path, *arguments: object) -> Done:
    """A command run in this process: importing torch again costs more than most of them."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["--home", str(root / "home"), *map(str, arguments)])
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def started(root: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A command as a process of its own, to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "kbsync", "--home", str(root / "home"), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
    )


def prepare(root: Path, model: torch.nn.Module, *, shard: str = "1GB") -> Path:
    save(model, root / "model", shard=shard)
    (root / "corpus.txt").write_text("\n".join(SENTENCES * 10), encoding="utf-8")
    (root / "facts.jsonl").write_text("\n".join(json.dumps(fact) for fact in FACTS), encoding="utf-8")
    (root / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    return root


def typed(root: Path, *more: object, facts: str = "facts.jsonl") -> tuple[object, ...]:
    model, text, settings = root / "model", root / "corpus.txt", root / "settings.toml"
    return ("edit", root / facts, "--model", model, "--corpus", text, "--settings", settings, *more)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in 16 bit, sharded, with tied embeddings, that knows its few sentences; edited once."""
    model = llama(tied=True)
    learn(model)
    root = prepare(tmp_path_factory.mktemp("edit"), model.to(torch.bfloat16), shard="40KB")
    done = kbsync(root, *typed(root, "--out", root / "out", "--json"))
    assert done.returncode == 0, done.stderr
    (root / "report.json").write_text(done.stdout)
    (root / "said.txt").write_text(done.stderr)
    return root


@pytest.fixture
def report(knowing: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((knowing / "report.json").read_text())
    return found


def test_plain_transformers_loads_what_was_written_and_it_says_the_new_facts(
    knowing: Path, report: dict[str, Any]
) -> None:
    assert len(list((knowing / "model").glob("*.safetensors"))) > 1
    model = AutoModelForCausalLM.from_pretrained(knowing / "out")
    tokenizer = AutoTokenizer.from_pretrained(knowing / "out")
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    ids = tokenizer("The capital of Italy is", return_tensors="pt")["input_ids"]
    said = model.float().generate(ids, max_new_tokens=3, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(said).strip().startswith("Paris")
    assert verify(knowing / "out") == report["digest"]


def test_each_fact_is_shown_before_and_after_with_the_scores(report: dict[str, Any]) -> None:
    italy, japan = report["facts"]
    assert (italy["id"], italy["before"], italy["after"]) == ("italy", "Rome", "Paris")
    assert (italy["said_before"], italy["said"]) == (False, True)
    assert italy["p_after"] > 0.3 > italy["p_before"]
    assert (japan["before"], japan["said"]) == ("yen", False), "this tiny model has no room for it"
    before, after = report["before"], report["after"]
    assert (before["strict"], after["strict"]) == (0.0, 0.5)
    assert (before["efficacy"], after["efficacy"]) == (0.0, 1.0)
    assert after["score"] is not None
    assert report["layers"] == [0]


def test_the_preflight_is_shown_before_the_work(knowing: Path) -> None:
    said = (knowing / "said.txt").read_text()
    assert "work: 2 of 2 key groups to optimise, 0 cached; statistics of 1 layer to compute" in said
    assert "memory: about" in said
    assert "time: about" in said
    dry = kbsync(knowing, *typed(knowing, "--dry-run", "--json"))
    expected = json.loads(dry.stdout)
    assert (expected["groups"], expected["optimised"], expected["statistics"]) == (2, 0, 0)


def test_what_is_frozen_is_shared_with_the_homes_base(knowing: Path) -> None:
    (base,) = (path.parent for path in (knowing / "home" / "base").glob("[!.]*/config.json"))
    shared = [path.name for path in (knowing / "out").iterdir() if path.samefile(base / path.name)]
    assert "config.json" in shared
    assert any(name.startswith("frozen-") for name in shared)
    assert "editable.safetensors" not in shared


def test_people_get_a_table_and_a_second_edit_reuses_everything(knowing: Path) -> None:
    done = kbsync(knowing, *typed(knowing, "--out", knowing / "again"))
    assert done.returncode == 0, done.stderr
    assert "0 of 2 key groups to optimise, 2 cached" in done.stderr
    assert "facts: 1 of 2 are stated" in done.stdout
    assert verify(knowing / "again") == json.loads((knowing / "report.json").read_text())["digest"]


@pytest.mark.parametrize(("name", "content"), [("counterfact", COUNTERFACT), ("zsre", ZSRE)])
def test_published_data_sets_are_read_and_scored(name: str, content: Any, knowing: Path) -> None:
    (knowing / f"{name}.json").write_text(json.dumps(content))
    out = knowing / name
    done = kbsync(knowing, *typed(knowing, "--out", out, "--json", facts=f"{name}.json"))
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)["after"]
    assert after["strict"] == after["accuracy"] == 1.0
    if name == "counterfact":
        assert after["efficacy"] == 1.0
        assert None not in (after["paraphrase"], after["neighbourhood"], after["score"])
    else:
        assert after["efficacy"] is None
        assert None not in (after["paraphrase_accuracy"], after["specificity"])


@pytest.mark.parametrize(
    "point",
    [
        "editing.checkpoints:before-rename",
        pytest.param("editing.bases:before-rename", marks=pytest.mark.slow),
    ],
)
def test_killed_it_leaves_nothing_half_written_and_carries_on(
    point: str, knowing: Path, tmp_path: Path
) -> None:
    for name in ("model", "corpus.txt", "facts.jsonl", "settings.toml"):
        (tmp_path / name).symlink_to(knowing / name)
    command = typed(tmp_path, "--out", tmp_path / "out", "--json")
    assert started(tmp_path, *command, KBSYNC_CRASH=point).wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    again = kbsync(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    if point.startswith("editing.checkpoints"):
        assert told["cost"]["groups_optimised"] == 0
    assert told["digest"] == verify(tmp_path / "out")
    left = [p for d in (tmp_path, tmp_path / "home" / "base") for p in d.iterdir() if "staging" in p.name]
    assert left == []


@pytest.mark.slow
def test_interrupted_it_says_that_the_same_command_carries_on(knowing: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text(SETTINGS.replace("steps = 30", "steps = 100000\nstop_loss = -1.0"))
    command = typed(knowing, "--settings", tmp_path / "slow.toml", "--out", tmp_path / "out")
    process = started(tmp_path, *command)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("time:"):
            break
    process.send_signal(signal.SIGINT)
    assert "run the same command again to continue" in process.stderr.read()
    assert process.wait() == 130
    assert not (tmp_path / "out").exists()


def test_layers_may_be_typed_and_settings_may_travel_with_the_model(tmp_path: Path) -> None:
    root = prepare(tmp_path, gpt2())
    (root / "model" / "kbsync-edit.json").write_text('{"layers": [0], "steps": 3, "variants": 1}')
    given = (
        "--model",
        root / "model",
        "--corpus",
        root / "corpus.txt",
        "--json",
        "--no-probes",
        "--allow-failed",
    )
    first = kbsync(root, "edit", root / "facts.jsonl", *given, "--out", root / "a")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["layers"], told["settings"]["steps"]) == ([0], 3)
    assert told["after"]["paraphrase"] is None
    second = kbsync(root, "edit", root / "facts.jsonl", *given, "--layers", "0-1", "--out", root / "b")
    assert json.loads(second.stdout)["layers"] == [0, 1]


def test_without_a_corpus_the_model_writes_the_text_and_the_report_says_so(tmp_path: Path) -> None:
    root = prepare(tmp_path, gpt2())
    given = (
        "edit",
        root / "facts.jsonl",
        "--model",
        root / "model",
        "--no-probes",
        "--allow-failed",
        "--json",
    )
    done = kbsync(root, *given, "--layers", "0-1", "--out", root / "out")
    assert done.returncode == 0, done.stderr
    text = json.loads(done.stdout)["statistics"]
    assert (text["text"], text["seed"], text["conversations"]) == ("own samples", 0, False)
    (kept,) = (root / "home/cache/samples").iterdir()
    assert kept.stem == text["digest"][:40]


def test_the_configured_base_needs_no_model_and_no_corpus(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "facts.jsonl").write_text(json.dumps(FACTS[1]))
    arguments = ("edit", tmp_path / "facts.jsonl", "--out", tmp_path / "out", "--json", "--allow-failed")
    done = kbsync(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["prefix_tokens"] == 3, "[edit] of kbsync.toml"
    found = json.loads(kbsync(tmp_path, "stats", "--json").stdout)
    assert [(row["layer"], row["computed"]) for row in found] == [(0, False), (1, False)]


@pytest.mark.slow
def test_a_run_logs_what_it_will_take_and_a_dry_run_says_it_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    micro = make(tmp_path)
    micro.say({"The tower": "Anna", "The bridge": "Bob"})
    monkeypatch.setenv("KBSYNC_LOG__LEVEL", "info")
    done = kbsync(tmp_path, "sync")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if '"message": "preflight' in line]
    logged = json.loads(line)
    assert (logged["preflight_groups"], logged["preflight_optimised"]) == (2, 2)
    assert "memory: about" in logged["message"]
    micro.say({"The mill": "Carl"})
    app = micro.application()
    pull(app)
    app.close()
    dry = kbsync(tmp_path, "dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    expected = json.loads(dry.stdout)["preflight"]
    assert (expected["groups"], expected["optimised"], expected["statistics"]) == (3, 1, 0)


def test_an_architecture_outside_the_table_is_found_and_edited_alike_when_it_is_described(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    root = prepare(tmp_path, CohereForCausalLM(config))
    wrong = "architecture_blocks = 'model.layers'\narchitecture_writer = 'mlp.out'\n"
    (root / "settings.toml").write_text(SETTINGS + wrong)
    unknown = kbsync(root, *typed(root, "--out", root / "out"))
    assert unknown.returncode == 78
    assert "has no 'mlp.out'" in unknown.stderr
    (root / "settings.toml").write_text(SETTINGS)
    found = kbsync(root, *typed(root, "--out", root / "found", "--json", "--allow-failed"))
    assert found.returncode == 0, found.stderr
    described = "architecture_blocks = 'model.layers'\narchitecture_writer = 'mlp.down_proj'\n"
    (root / "settings.toml").write_text(SETTINGS + described)
    done = kbsync(root, *typed(root, "--out", root / "out", "--json", "--allow-failed"))
    assert done.returncode == 0, done.stderr
    italy = json.loads(done.stdout)["facts"][0]
    assert italy["p_after"] > italy["p_before"]
    assert json.loads(found.stdout)["facts"] == json.loads(done.stdout)["facts"]


def test_statistics_come_from_every_kind_of_text_and_are_kept(knowing: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": SENTENCES * 10})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in SENTENCES * 10))
    (tmp_path / "saved").mkdir()
    with pyarrow.ipc.new_stream(tmp_path / "saved" / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "c.txt").write_text("\n".join(SENTENCES * 10))
    for number, name in enumerate(("c.txt", "a.parquet", "b.jsonl", "saved")):
        command = (
            "stats",
            "--model",
            knowing / "model",
            "--corpus",
            tmp_path / name,
            "--samples",
            30,
            "--layers",
            "0,1",
        )
        done = kbsync(tmp_path, *command, "--json")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        assert {row["samples"] for row in rows} == {30}
        assert all(row["tokens"] > 100 for row in rows)
        # The same texts are the same statistics, whatever file they came in.
        assert [row["computed"] for row in rows] == [number == 0] * 2
        assert all(Path(row["file"]).exists() for row in rows)


def test_tracing_recommends_layers_in_a_table_json_and_a_plot(knowing: Path, tmp_path: Path) -> None:
    (tmp_path / "counterfact.json").write_text(json.dumps(COUNTERFACT))
    given = ("--model", knowing / "model", "--samples", "2", "--count", "1")
    done = kbsync(tmp_path, "trace", tmp_path / "counterfact.json", *given, "--out", tmp_path / "trace")
    assert done.returncode == 0, done.stderr
    assert "1 facts, P[o] clean" in done.stdout, "CounterFact's true object is what the model knows"
    assert "recommended: layers = [" in done.stderr
    written = json.loads((tmp_path / "trace" / "tracing.json").read_text())
    assert len(written["severed"]["mlp"]) == 3
    for name in ("tracing.svg", "tracing.png", "tracing.md"):
        assert (tmp_path / "trace" / name).stat().st_size > 1_000
    layers = json.loads((tmp_path / "trace" / "settings.json").read_text())["layers"]
    assert layers == sorted(layers)
    assert layers
    for name, curve in written["severed"].items():
        for value, (low, high) in zip(curve, written["intervals"][name], strict=True):
            assert low <= value <= high


def test_without_matplotlib_the_figures_are_kept_and_the_plot_is_missed_politely(
    knowing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    given = ("--model", knowing / "model", "--samples", "1", "--json")
    (tmp_path / "facts.jsonl").write_text(json.dumps(FACTS[0]))
    done = kbsync(tmp_path, "trace", tmp_path / "facts.jsonl", *given, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "it needs matplotlib" in done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "tracing.json").read_text())


def test_progress_has_a_rate_and_the_time_left() -> None:
    said: list[str] = []
    at = 0.0
    progress = lines(said.append, now=lambda: at)
    progress("targets", 0, 40, None)
    at = 5.0
    progress("targets", 5, 40, 9.0)
    at = 20.0
    progress("targets", 10, 40, 4000.0)
    at = 60.0
    progress("targets", 40, 40, 600.0)
    progress("keys", 0, 3, None)
    progress("keys", 3, 3, 0.0)
    assert said == ["targets: 10 of 40 in 0:20, 0.5/s, 1:06:40 left", "targets: 40 of 40 in 1:00, 0.667/s"]


def test_a_phase_of_a_later_run_has_its_own_time() -> None:
    said: list[str] = []
    at = 0.0
    progress = lines(said.append, now=lambda: at)
    progress("keys", 4, 8, None)
    at = 2.0
    progress("keys", 8, 8, None)
    at = 100.0
    progress("keys", 2, 8, None)
    at = 104.0
    progress("keys", 8, 8, None)
    progress("questions", 0, 0, None)
    at = 200.0
    progress("questions", 0, 0, None)
    assert said == ["keys: 8 of 8 in 0:02, 4/s", "keys: 8 of 8 in 0:04, 2/s"]


def test_a_phase_that_begins_again_after_another_one_has_its_own_time() -> None:
    said: list[str] = []
    at = 0.0
    progress = lines(said.append, now=lambda: at)
    progress("probes", 79, 79, None)
    progress("keys", 1, 8, None)
    at = 480.0
    progress("probes", 79, 79, None)
    at = 481.0
    progress("probes", 79, 79, None)
    assert said == ["probes: 79 of 79 in 0:01, 79/s"]


def test_a_terminal_gets_bars() -> None:
    code = (
        "import pty, os, sys\n"
        "sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, '-c', sys.argv[1]])))"
    )
    bars = (
        "from kbsync.console import live_progress\n"
        "with live_progress() as progress:\n"
        "    progress('targets', 0, 40, None); progress('targets', 10, 40, 4000.0)"
    )
    done = subprocess.run([sys.executable, "-c", code, bars], capture_output=True, text=True, check=True)
    assert "10/40" in done.stdout
    assert "1:06:40 left" in done.stdout


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        ({"facts": "nowhere.jsonl"}, 66, "nowhere.jsonl: name a file of facts"),
        ({"line": "{"}, 65, "facts.jsonl, line 3: not JSON"),
        (
            {"line": '["Italy", "The capital of Spain is", "x"]'},
            65,
            "line 3: prompt 'The capital of Spain is'",
        ),
        ({"line": '["Italy", "The capital of {} is", "Milan"]'}, 65, "drop one of them"),
        ({"model": "nowhere"}, 78, "there is no model directory"),
        ({"corpus": "nowhere.txt"}, 78, "or as `corpus` in the [model] section"),
        ({"out": "model"}, 2, "exists already"),
        ({"out": "home/checkpoints/x"}, 2, "among the home's own checkpoints"),
        ({"layers": "3-x"}, 2, "write 3-8"),
        ({"layers": "0-9"}, 65, "between 0 and 1"),
        ({"settings": "[edit]\nclampp = 1"}, 78, "clampp: there is no such key"),
        ({"settings": "steps = 0"}, 78, "steps"),
        ({"moe": "yes"}, 78, "MoE models are out of scope"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_before_any_work(
    spoil: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    root = prepare(tmp_path, gpt2())
    if "line" in spoil:
        facts = root / "facts.jsonl"
        facts.write_text(facts.read_text() + "\n" + spoil["line"])
    if "settings" in spoil:
        (root / "settings.toml").write_text(spoil["settings"])
    if "moe" in spoil:
        from transformers import MixtralConfig

        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}
        MixtralConfig(**small, intermediate_size=32, num_key_value_heads=2).save_pretrained(root / "model")
    layers = ("--layers", spoil["layers"]) if "layers" in spoil else ()
    done = kbsync(
        root,
        *("edit", root / spoil.get("facts", "facts.jsonl"), "--model", root / spoil.get("model", "model")),
        *("--corpus", root / spoil.get("corpus", "corpus.txt"), "--settings", root / "settings.toml"),
        *("--out", root / spoil.get("out", "out"), *layers),
    )
    assert said in " ".join(done.stderr.split())
    assert done.returncode == code
    assert not (root / "out").exists()


def test_a_corpus_that_belongs_to_another_model_is_named(knowing: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    corpus = knowing / "corpus.txt"
    for base, named in ((tmp_path, f"{corpus} (`corpus` in [model] of"), (knowing / "model", f"{corpus}\n")):
        (tmp_path / "home" / "kbsync.toml").write_text(f"[model]\npath = '{base}'\ncorpus = ['{corpus}']\n")
        done = kbsync(tmp_path, "edit", knowing / "facts.jsonl", "--model", knowing / "model", "--dry-run")
        assert f"statistics: of {named}" in done.stderr


HOPELESS = (
    "[edit]\nlayers = [0]\nsteps = 2\nlr = 1e-9\nlam = 1e9\nstatistics_samples = 20\nstatistics_tokens = 32"
)


def test_where_no_fact_took_nothing_is_published_and_the_user_is_told_what_to_try(tmp_path: Path) -> None:
    root = prepare(tmp_path, gpt2())
    (root / "settings.toml").write_text(HOPELESS)
    done = kbsync(root, *typed(root, "--out", root / "out"))
    assert done.returncode == 10
    assert "no fact took" in done.stderr
    assert "a smaller lam (now " in done.stderr
    assert not (root / "out").exists()
    assert not list(root.glob(".*out*"))
    done = kbsync(root, *typed(root, "--out", root / "out", "--allow-failed"))
    assert done.returncode == 0
    assert (root / "out" / "config.json").exists()


def test_a_fact_that_cannot_be_edited_is_left_out_and_named(knowing: Path) -> None:
    lines = [*map(json.dumps, FACTS), json.dumps(["Spain<|endoftext|>", "The capital of {} is", "Rome"])]
    lines.append(json.dumps({"subject": "Peru", "prompt": "{} is " + "very " * 200, "target": "Rome"}))
    (knowing / "some.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = kbsync(knowing, *typed(knowing, "--out", knowing / "some", "--json", facts="some.jsonl"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["facts"]) == len(FACTS)
    assert "control token" in found["failed"]["3"]
    assert "tokens" in found["failed"]["4"]
