"""`edit` in a notebook: models as people have them, and the way back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, ModelHook, add_hook_to_module
from peft import LoraConfig, get_peft_model

from editing import edit
from editing.errors import ArchitectureError, ModelError
from editing.memit.api import Edited
from editing.model.tokens import tokenizer_digest
from editing.requests import EditRequest
from editing.tracing.trace import TraceSettings, trace
from tests.support.builds import REQUESTS, SETTINGS
from tests.support.zoo import TEXT, tiny, tokenizer

FAST = replace(SETTINGS, steps=3, prefixes=0)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def edited(
    model: Any, corpus: Path, requests: list[EditRequest] = REQUESTS, layers: tuple[int, ...] = (1, 2)
) -> Edited:
    return edit(
        model,
        tokenizer("byte-bpe"),
        requests,
        replace(FAST, layers=layers),
        corpus=[corpus],
        cache=corpus.parent,
    )


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edits_undone_in_any_order_leave_exactly_the_base(
    order: tuple[int, ...], dtype: torch.dtype, corpus: Path
) -> None:
    model = tiny("llama", dtype=dtype)
    base = weights(model)
    edits = [
        edited(model, corpus, REQUESTS[:2]),
        edited(model, corpus, REQUESTS[2:3], layers=(0, 1)),
        edited(model, corpus, REQUESTS[3:]),
    ]
    for index in order:
        edits[index].undo()
        after = weights(model)
        edits[index].undo()
        assert same(weights(model), after), "a second undo does nothing"
    assert same(weights(model), base)


def test_a_later_edit_stays_when_an_earlier_one_is_undone(corpus: Path) -> None:
    model = tiny("llama")
    base = weights(model)
    first = edited(model, corpus, REQUESTS[:1])
    between = weights(model)
    second = edited(model, corpus, REQUESTS[1:2])
    both = weights(model)
    first.undo()
    for name, tensor in weights(model).items():
        assert torch.allclose(tensor - base[name], both[name] - between[name], rtol=1e-9, atol=1e-12)
    third = edited(model, corpus, REQUESTS[2:3])
    second.undo()
    third.undo()
    assert same(weights(model), base)


def test_what_else_changed_the_weights_stays_when_edits_are_undone(corpus: Path) -> None:
    """Training, say, before an edit, between two, and after both."""
    model = tiny("llama")
    base = weights(model)
    name = "model.layers.1.mlp.down_proj.weight"
    edits = []
    for requests in (REQUESTS[:1], REQUESTS[1:2]):
        edits.append(edited(model, corpus, requests))
        with torch.no_grad():
            model.get_parameter(name).add_(0.5)
    for edit_of in edits:
        edit_of.undo()
    after = weights(model)
    torch.testing.assert_close(after.pop(name), base.pop(name) + 1.0, rtol=1e-12, atol=1e-12)
    assert same(after, base)


def test_edits_are_undone_in_a_model_that_was_converted_since(corpus: Path) -> None:
    model = tiny("llama", dtype=torch.bfloat16)
    base = weights(model)
    first = edited(model, corpus, REQUESTS[:1])
    model.to(torch.float32)
    second = edited(model, corpus, REQUESTS[1:2])
    first.undo()
    second.undo()
    assert same(weights(model), {name: tensor.float() for name, tensor in base.items()})


def test_an_edit_that_nobody_holds_any_more_keeps_no_memory_and_stays(corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    edited(model, corpus, REQUESTS[:1])
    gc.collect()
    kept = weights(model)
    edited(model, corpus, REQUESTS[1:2]).undo()
    assert same(weights(model), kept)


def hooked(model: Any) -> Any:
    """As accelerate's device_map leaves a model: every block has a forward of its own."""
    for block in model.model.layers:
        add_hook_to_module(block, AlignDevicesHook(execution_device="cpu", io_same_device=True))
        add_hook_to_module(block.mlp.act_fn, ModelHook())
    return model


def overridden(model: Any) -> Any:
    """As people patch a forward of a block of theirs."""
    for block in model.model.layers:
        block.forward = lambda *args, own=block.forward, **more: own(*args, **more)
    return model


@pytest.mark.parametrize("wrap", [hooked, overridden])
def test_a_modules_own_forward_is_there_after_an_edit_as_before(
    wrap: Callable[[Any], Any], corpus: Path
) -> None:
    expected = edited(tiny("llama", dtype=torch.float32), corpus).result.tensors
    model = wrap(tiny("llama", dtype=torch.float32))
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    result = edited(model, corpus).result.tensors
    trace(model, tokenizer("byte-bpe"), known_facts(model), TraceSettings(samples=1))
    assert all(torch.allclose(result[name], expected[name], atol=1e-5) for name in expected)
    for name, module in model.named_modules():
        assert vars(module).keys() == before[name].keys(), name
        assert vars(module).get("forward") is before[name].get("forward"), name


def known_facts(model: Any) -> list[EditRequest]:
    """Something that the model states: whatever it says after a prompt."""
    prompt = "The capital of France is"
    ids = tokenizer("byte-bpe")(prompt)["input_ids"]
    facts = []
    for token in model(torch.tensor([ids])).logits[0, -1].topk(40).indices.tolist():
        facts.append(
            EditRequest(
                str(token), "The capital of {} is", "France", tokenizer("byte-bpe").decode([token]).strip()
            )
        )
    return [fact for fact in facts if fact.target]


def compiled(model: Any) -> Any:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def compiled_blocks(model: Any) -> Any:
    for index, block in enumerate(model.model.layers):
        model.model.layers[index] = torch.compile(block, backend="eager")
    return model


def compiled_blocks_in_place(model: Any) -> Any:
    for block in model.model.layers:
        block.compile(backend="eager")
        block.mlp.compile(backend="eager")
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [compiled, compiled_in_place, compiled_blocks, compiled_blocks_in_place],
)
def test_a_compiled_model_is_edited_as_it_was_written(wrap: Callable[[Any], Any], corpus: Path) -> None:
    plain = tiny("llama", dtype=torch.float32)
    expected = edited(plain, corpus)
    model = wrap(tiny("llama", dtype=torch.float32))
    ids = torch.tensor([tokenizer("byte-bpe")(TEXT[0])["input_ids"]])
    with torch.no_grad():
        before = model(ids).logits  # compiled by now
        edit_of = edited(model, corpus)
        assert all(
            torch.equal(edit_of.result.tensors[name], tensor)
            for name, tensor in expected.result.tensors.items()
        )
        assert torch.allclose(model(ids).logits, plain(ids).logits, atol=1e-5)
        edit_of.undo()
        assert torch.allclose(model(ids).logits, before, atol=1e-6)


# peft's own call of transformers
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_model_with_an_adapter_is_refused_before_the_work(corpus: Path) -> None:
    adapter = LoraConfig(target_modules=["q_proj", "down_proj"], r=2, task_type="CAUSAL_LM")
    adapted = get_peft_model(tiny("llama", dtype=torch.float32), adapter)
    for model in (adapted, adapted.get_base_model()):
        with pytest.raises(ArchitectureError, match=r"merge the adapter before the edit"):
            edited(model, corpus)
    merged = adapted.merge_and_unload()
    edited(merged, corpus).undo()


def test_a_model_that_is_not_in_memory_is_refused_before_the_work(corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    model.model.layers[2].mlp.down_proj.to("meta")
    with pytest.raises(ModelError, match=r"1 parameters are on the meta device.*without offloading"):
        edited(model, corpus)
    assert not (corpus.parent / "deltas").exists()


def in_inference_mode(model: Any) -> Any:
    with torch.inference_mode():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, torch.nn.Parameter(parameter.clone(), requires_grad=False))
    return model


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (torch.nn.DataParallel, r"DataParallel is not a transformers model.*`model\.module`"),
        (in_inference_mode, r"created under torch\.inference_mode\(\).*load the model outside"),
    ],
)
def test_a_model_that_cannot_be_written_to_is_refused_before_the_work(
    wrap: Callable[[Any], Any], why: str, corpus: Path
) -> None:
    with pytest.raises(ModelError, match=why):
        edited(wrap(tiny("llama", dtype=torch.float32)), corpus)
    assert not (corpus.parent / "deltas").exists()


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
)
def test_an_edit_is_the_same_in_whatever_mode_its_caller_is(mode: Callable[[], Any], corpus: Path) -> None:
    expected = edited(tiny("llama", dtype=torch.float32), corpus).result.tensors
    for path in (corpus.parent / "deltas").iterdir():
        path.unlink()
    model = tiny("llama", dtype=torch.float32)
    base = weights(model)
    with mode():
        edit_of = edited(model, corpus)
    result = edit_of.result.tensors
    assert all(torch.allclose(result[name], expected[name], atol=1e-6) for name in expected)
    edit_of.undo()
    assert same(weights(model), base)


def test_what_a_caller_asked_of_a_tokenizer_before_is_no_part_of_a_key(corpus: Path) -> None:
    own = tokenizer("byte-bpe")
    own.pad_token = own.eos_token
    digest = tokenizer_digest(own)
    edited(tiny("llama", dtype=torch.float32), corpus)
    own(["a longer text", "a"], padding=True, truncation=True, max_length=3)
    try:
        assert tokenizer_digest(own) == digest
        own(["a longer text", "a"], padding="max_length", max_length=9, padding_side="left")
        assert tokenizer_digest(own) == digest
        assert edited(tiny("llama", dtype=torch.float32), corpus).result.cost.groups_optimised == 0
    finally:
        own("a")  # back to no padding: the tokenizer is shared by all tests
