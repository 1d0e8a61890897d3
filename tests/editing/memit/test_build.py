"""`build` and `edit`: what is reused, what survives a kill, what is left as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing import edit
from editing.editors.contract import EditResult
from editing.errors import ArchitectureError, DataError, OutOfMemory, RequestError
from editing.memit.corpus import Drawn, documents, draw
from editing.memit.statistics import Statistics
from editing.memit.sums import accumulate
from editing.model.architectures import locate_parts
from editing.model.memory import in_batches
from editing.model.weights import swapped
from editing.requests import EditRequest
from tests.support.builds import REQUESTS, SETTINGS, built
from tests.support.paths import REPOSITORY
from tests.support.zoo import TEXT, tiny, tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def test_the_same_seed_gives_the_same_tensors_and_leaves_the_model_as_it_was(
    tmp_path: Path, corpus: Path
) -> None:
    model = tiny("llama", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = built(tmp_path / "one", corpus, model=model)
    second = built(tmp_path / "two", corpus, model=model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert sorted(first.tensors) == [
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.2.mlp.down_proj.weight",
    ]
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_edited_model_says_its_targets_more(tmp_path: Path, corpus: Path, dtype: torch.dtype) -> None:
    model = tiny("gpt2", dtype=dtype)
    settings = replace(SETTINGS, prefixes=0, kl=0.0, lam=1e-3, steps=60, lr=0.5, clamp=100.0)
    result = built(tmp_path, corpus, model=model, settings=settings)

    def likelihood(request: EditRequest) -> float:
        ids = tokenizer("byte-bpe")(request.rendered + " " + request.target)["input_ids"]
        prompt = len(tokenizer("byte-bpe")(request.rendered)["input_ids"])
        logp = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        return float(logp[range(prompt - 1, len(ids) - 1), ids[prompt:]].mean())

    with torch.no_grad():
        before = [likelihood(request) for request in REQUESTS]
        with swapped(model, result.tensors):
            after = [likelihood(request) for request in REQUESTS]
    assert all(new > old for old, new in zip(before, after, strict=True))


def test_only_new_groups_are_optimised(tmp_path: Path, corpus: Path) -> None:
    built(tmp_path, corpus, REQUESTS[:3])
    again = built(tmp_path, corpus)
    assert (again.cost.groups_cached, again.cost.groups_optimised) == (3, 1)
    other_layers = built(tmp_path, corpus, settings=replace(SETTINGS, layers=(2,), lam=3.0, keys="all"))
    assert other_layers.cost.groups_optimised == 0, "δ depends on the target layer alone"


def test_batches_and_leaving_early_change_only_last_bits(tmp_path: Path, corpus: Path) -> None:
    settings = replace(SETTINGS, stop_loss=6.1, steps=25, clamp=100.0, kl=0.0)
    model = tiny("llama", dtype=torch.float64)
    together = built(tmp_path / "all", corpus, settings=settings, model=model)
    updates = {delta.updates for delta in together.deltas.values()}
    assert len(updates) > 1, "the edits were to end at different steps"
    for request in REQUESTS:
        alone = built(tmp_path / request.id, corpus, [request], settings, model=model)
        (key,) = alone.deltas
        assert alone.deltas[key].updates == together.deltas[key].updates
        assert torch.allclose(alone.deltas[key].value, together.deltas[key].value, rtol=1e-5, atol=1e-9)


def test_preserved_keys_hold_what_they_say_in_place(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float64)
    settings = replace(SETTINGS, lam=1e-3)
    first, others = REQUESTS[:1], REQUESTS[1:]
    free = built(tmp_path, corpus, first, settings, model=model)
    held = built(tmp_path, corpus, first, settings, model=model, preserved=others)
    assert _moved(model, held, others) < _moved(model, free, others)


@pytest.mark.parametrize("woodbury", [True, False])
def test_kept_sentences_stay_closer_to_what_they_were(
    tmp_path: Path, corpus: Path, woodbury: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editing.memit.solvers.prefers_woodbury", lambda *size: woodbury)
    model = tiny("llama", dtype=torch.float64)
    first, others = REQUESTS[:1], REQUESTS[1:]
    kept = [(request.prompt, request.subject) for request in others]
    moved = []
    for keep in (0.0, 0.1):
        settings = replace(SETTINGS, lam=1e-3, keep=keep)
        change = built(tmp_path, corpus, first, settings, model=model, kept=kept)
        moved.append(_moved(model, change, others))
    assert moved[1] < 0.7 * moved[0]


def test_a_sentence_with_the_key_of_an_edit_is_not_kept(tmp_path: Path, corpus: Path) -> None:
    model, settings = tiny("llama", dtype=torch.float64), replace(SETTINGS, keep=1.0)
    same = [("The capital of {} was once", "France")]
    free = built(tmp_path, corpus, settings=settings, model=model)
    held = built(tmp_path, corpus, settings=settings, model=model, kept=same)
    assert all(torch.equal(free.tensors[name], held.tensors[name]) for name in free.tensors)


def _moved(model: Any, change: EditResult, requests: list[EditRequest]) -> float:
    """How far the states at the ends of the requests' subjects move, in all."""
    ids = [tokenizer("byte-bpe")(r.rendered.split(r.subject)[0] + r.subject)["input_ids"] for r in requests]

    def states() -> list[torch.Tensor]:
        with torch.no_grad():
            return [
                model(torch.tensor([row]), output_hidden_states=True).hidden_states[-2][0, -1] for row in ids
            ]

    before = states()
    with swapped(model, change.tensors):
        after = states()
    return sum(float((a - b).norm()) for a, b in zip(after, before, strict=True))


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.builds import built
def progress(phase, done, total):
    if phase == "solve":
        os.kill(os.getpid(), signal.SIGKILL)
built(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
"""


def test_a_killed_build_resumes_with_all_it_had(tmp_path: Path, corpus: Path) -> None:
    cache = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(cache), str(corpus)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    resumed, whole = built(cache, corpus), built(tmp_path / "whole", corpus)
    assert resumed.cost.groups_cached == 4
    for name, tensor in whole.tensors.items():
        assert torch.allclose(resumed.tensors[name], tensor, rtol=1e-3, atol=1e-5)


class Interrupted(Exception):
    """Raised by a progress callback, as the worker does when it is asked to stop."""


@pytest.mark.parametrize("phase", ["targets", "statistics", "keys", "solve"])
def test_a_build_interrupted_in_any_phase_leaves_the_model_alone_and_keeps_finished_deltas(
    tmp_path: Path, corpus: Path, phase: str
) -> None:
    model = tiny("llama", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def progress(now: str, done: int, total: int) -> None:
        if now == phase:
            raise Interrupted

    with pytest.raises(Interrupted):
        built(tmp_path, corpus, model=model, progress=progress)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    resumed = built(tmp_path, corpus, model=model)
    assert resumed.cost.groups_cached == (0 if phase == "targets" else 4)


def test_three_lines_edit_a_model_and_undo_it(corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    edited = edit(model, tokenizer("byte-bpe"), REQUESTS, SETTINGS, corpus=[corpus])
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == set(edited.result.tensors)
    edited.undo()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_statistics_do_not_depend_on_padding_or_interruption(tmp_path: Path) -> None:
    model = tiny("llama", dtype=torch.float64)
    rows = [tuple(ids) for ids in tokenizer("byte-bpe")(list(TEXT))["input_ids"]]
    parts = locate_parts(model)
    together = accumulate(model, parts, (1,), rows)
    short, long = (
        sorted(rows, key=lambda row: (len(row), row))[:2],
        sorted(rows, key=lambda row: (len(row), row))[2:],
    )
    accumulate(model, parts, (1,), short).save(tmp_path / "partial")
    resumed = accumulate(model, parts, (1,), short + long, partial=tmp_path / "partial")
    assert (resumed.tokens, resumed.rows) == (together.tokens, 5)
    assert torch.allclose(resumed.of[1], together.of[1], rtol=1e-12)


def test_a_corpus_may_be_text_json_lines_parquet_or_a_saved_dataset(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")

    table = pyarrow.table({"text": list(TEXT)})
    (tmp_path / "a.txt").write_text("\n\n".join(TEXT), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in TEXT), encoding="utf-8"
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "saved").mkdir()
    with pyarrow.ipc.new_stream(tmp_path / "saved" / "data-0.arrow", table.schema) as stream:
        stream.write_table(table)
    for name in ("a.txt", "a.jsonl", "a.parquet", "saved"):
        assert tuple(documents([tmp_path / name])) == TEXT, name
        with (
            pytest.raises(DataError, match=r"statistics_field|no column")
            if name not in ("a.txt",)
            else _nothing()
        ):
            list(documents([tmp_path / name], field="body"))


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_a_sample_of_the_corpus_is_seeded(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"line {i}" for i in range(100)), encoding="utf-8")
    once = draw([tmp_path / "a.txt"], 10, 3)
    assert len(once) == 10
    assert once == draw([tmp_path / "a.txt"], 10, 3)
    assert once != draw([tmp_path / "a.txt"], 10, 4)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    ran = []

    def run(batch: Any) -> None:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        ran.append(list(batch))

    in_batches(list(range(7)), lambda _: 1, 100, run)
    assert [item for batch in ran for item in batch] == list(range(7))

    def never(_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemory, match="shorten"):
        in_batches([1], lambda _: 1, 100, never)


@pytest.mark.parametrize(("kind", "said"), [("mixtral", "out of scope"), ("mamba", "describe it")])
def test_an_unknown_or_unfit_architecture_says_what_to_write(kind: str, said: str) -> None:
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
    more = (
        {"intermediate_size": 32, "num_key_value_heads": 2}
        if kind == "mixtral"
        else {"n_layer": 2, "n_head": 4}
    )
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(small | more)))
    with pytest.raises(ArchitectureError, match=said):
        locate_parts(model)


def test_an_architecture_can_be_described_in_the_settings(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    expected = built(tmp_path, corpus, model=model)
    model.config.model_type = "homegrown"
    described = replace(SETTINGS, architecture_blocks="model.layers", architecture_writer="mlp.down_proj")
    result = built(tmp_path, corpus, model=model, settings=described)
    assert all(torch.equal(tensor, result.tensors[name]) for name, tensor in expected.tensors.items())


@pytest.mark.parametrize("layers", [(3,), (2, 1), (-1,)])
def test_layers_that_cannot_be_edited_are_refused(
    tmp_path: Path, corpus: Path, layers: tuple[int, ...]
) -> None:
    with pytest.raises(RequestError, match="between 0 and 2"):
        built(tmp_path, corpus, settings=replace(SETTINGS, layers=layers))


def test_a_ridge_makes_updates_smaller_and_has_a_factor_of_its_own(tmp_path: Path, corpus: Path) -> None:
    plain = built(tmp_path, corpus)
    ridged = built(tmp_path, corpus, settings=replace(SETTINGS, ridge=1.0))
    assert ridged.cost.groups_optimised == 0
    assert all(ridged.cost.growth[layer] < plain.cost.growth[layer] for layer in (1, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_half_precision_weights_stay_so_while_deltas_are_fp32(
    tmp_path: Path, corpus: Path, kind: str, dtype: torch.dtype
) -> None:
    model = tiny(kind, dtype=dtype)
    result = built(tmp_path, corpus, model=model)
    assert {tensor.dtype for tensor in result.tensors.values()} == {dtype}
    assert {delta.value.dtype for delta in result.deltas.values()} == {torch.float32}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in result.tensors.values())


def test_a_corpus_at_rest_is_read_once_and_a_changed_one_again(tmp_path: Path) -> None:
    corpus = tmp_path / "a.txt"
    corpus.write_text("one\ntwo\nthree")

    def drawn(after: float) -> Drawn:
        now = corpus.stat().st_ctime + after
        return Drawn([corpus], 5, 0, field="text", hints=tmp_path / "hints", now=lambda: now)

    digest = drawn(after=0.1).digest
    assert not (tmp_path / "hints").exists(), "it changed just now, and may again within its time's grain"
    assert drawn(after=10).digest == digest
    again = drawn(after=10)
    assert again.digest == digest
    assert "texts" not in vars(again)
    times = corpus.stat()
    corpus.write_text("one\ntwo\nTHREE")
    os.utime(corpus, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same time of change
    assert drawn(after=10).digest != digest


def test_cached_statistics_need_no_text(tmp_path: Path, corpus: Path) -> None:
    os.utime(corpus, (1, 1))

    def statistics() -> Statistics:
        model = tiny("llama", dtype=torch.float32)
        return Statistics(
            model, tokenizer("byte-bpe"), SETTINGS, corpus=[corpus], base_digest="base", cache=tmp_path
        )

    first = statistics()
    assert first.missing((1, 2)) == [1, 2]
    first.compute(locate_parts(first.model), (1,))
    assert statistics().missing((1, 2)) == [2]
    assert first.counted(1)["samples"] == 40
    assert first.counted(1)["tokens"] > 400
