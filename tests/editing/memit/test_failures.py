"""One request's trouble costs that request: the others are built as if it had never been there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.errors import EditingError, NumericalError, OutOfMemory, RequestError
from editing.memit.build import build
from editing.requests import EditRequest
from tests.support.builds import REQUESTS, inputs
from tests.support.zoo import tiny, tokenizer

TOKENIZER = "byte-bpe"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("The capital of France is Paris. Marie Curie worked in Vienna.\n" * 30)
    return path


def built(
    tmp_path: Path, corpus: Path, requests: list[EditRequest], *, kind: str = TOKENIZER, model: Any = None
) -> tuple[Any, dict[str, EditingError]]:
    result = build(
        model if model is not None else tiny("llama", dtype=torch.float32),
        tokenizer(kind),
        inputs(tmp_path / "cache", corpus, requests, partial=True),
    )
    return result, dict(result.failed)


def token(text: str) -> int:
    return int(tokenizer(TOKENIZER)(text)["input_ids"][-1])


@contextmanager
def damaged(model: Any, *ids: int) -> Iterator[None]:
    """Inside, the model's embeddings of some tokens are not numbers, as an overflow leaves them."""
    table = model.get_input_embeddings().weight
    saved = table.detach().clone()
    with torch.no_grad():
        table[list(ids)] = torch.nan
    yield
    with torch.no_grad():
        table.copy_(saved)


@pytest.mark.parametrize(
    ("request_", "kind", "code", "said"),
    [
        (EditRequest("x", "{} is led by", "Nor<s>way", "Rome"), TOKENIZER, "label_special", "'<s>'"),
        (EditRequest("x", "{} is led by", "Norway", "</s>"), TOKENIZER, "label_special", "target '</s>'"),
        (EditRequest("x", "{} is led by", "Norway " * 60, "Rome"), TOKENIZER, "too_long", "reads 128"),
        (EditRequest("x", "{} is led by", "a\ud800b", "Rome"), TOKENIZER, "untokenised", "refuses"),
        (EditRequest("x", "{} is led by", "Norway", "Ж"), "metaspace-bos-eos", "unsayable", "cannot say"),
        (EditRequest("x", "{} is led by", "ЖЖ", "Rome"), "metaspace-bos-eos", "untokenised", "no part"),
        (EditRequest("x", "no place for it", "Norway", "Rome"), TOKENIZER, "malformed", "'x'"),
        (EditRequest("x", "{} and {}", "Norway", "Rome"), TOKENIZER, "malformed", "'x'"),
        (EditRequest("x", "{} is led by", "Norway", "  "), TOKENIZER, "malformed", "empty"),
    ],
)
def test_a_request_that_cannot_be_tokenised_is_named_and_the_others_are_built(
    request_: EditRequest, kind: str, code: str, said: str, tmp_path: Path, corpus: Path
) -> None:
    result, failed = built(tmp_path, corpus, [*REQUESTS[:2], request_], kind=kind)
    twin, none = built(tmp_path / "twin", corpus, REQUESTS[:2], kind=kind)
    assert list(failed) == ["x"]
    assert not none
    error = failed["x"]
    assert isinstance(error, RequestError)
    assert error.code == code
    assert said in str(error)
    assert result.groups == twin.groups
    assert all(torch.equal(result.tensors[name], twin.tensors[name]) for name in twin.tensors)


def test_a_tokenizer_s_unknown_token_is_no_control_token_where_a_character_is_merely_unknown() -> None:
    from editing.model.tokens import Located, passage, try_locate

    chosen = tokenizer("sentencepiece-bos")
    texts = [passage(EditRequest("1", "{} is", name, "Rome")) for name in ("Ю", "<unk>")]
    ordinary, literal = try_locate(chosen, texts, labels=True)
    assert isinstance(ordinary, Located)  # spelled in bytes
    assert isinstance(literal, RequestError)
    assert literal.code == "label_special"


def test_two_answers_to_one_prompt_are_neither_built(tmp_path: Path, corpus: Path) -> None:
    other = EditRequest("x", REQUESTS[0].prompt, REQUESTS[0].subject, "Oslo")
    result, failed = built(tmp_path, corpus, [*REQUESTS, other])
    assert set(failed) == {REQUESTS[0].id, "x"}
    assert set(result.groups) == {request.id for request in REQUESTS[1:]}


def test_a_loss_that_is_not_finite_costs_its_group(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    bad = EditRequest("x", "{} lives in", "Zzyx", "Rome")
    with damaged(model, token("Zzyx")):
        result, failed = built(tmp_path, corpus, [*REQUESTS, bad], model=model)
        twin, _ = built(tmp_path / "twin", corpus, REQUESTS, model=model)
    assert list(failed) == ["x"]
    assert isinstance(failed["x"], NumericalError)
    for name in twin.tensors:
        torch.testing.assert_close(result.tensors[name], twin.tensors[name])


def test_in_a_group_only_the_fact_that_fails_alone_is_lost(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    good = EditRequest("good", "{} lives in", "Norway", "Rome")
    bad = EditRequest("bad", "{} plays for", "Norway", "Zzyx Q")
    with damaged(model, token("Zzyx")):
        result, failed = built(tmp_path, corpus, [*REQUESTS[:2], good, bad], model=model)
    assert list(failed) == ["bad"]
    assert "good" in result.groups
    assert all(torch.isfinite(tensor).all() for tensor in result.tensors.values())


def test_where_most_of_many_fail_the_fault_is_not_theirs(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    subjects = [token(request.subject) for request in REQUESTS]
    with damaged(model, *subjects), pytest.raises(NumericalError, match="lr"):
        built(tmp_path, corpus, REQUESTS, model=model)


def test_a_key_that_overflows_in_a_later_layer_costs_its_group(tmp_path: Path, corpus: Path) -> None:
    """The δ is there from an earlier build; under these weights the key is not finite any more."""
    model = tiny("llama", dtype=torch.float32)
    other = EditRequest("x", "{} lives in", "Zzyx", "Rome")
    built(tmp_path, corpus, [*REQUESTS, other], model=model)
    with damaged(model, token("Zzyx")):
        result, failed = built(tmp_path, corpus, [*REQUESTS, other], model=model)
        twin, _ = built(tmp_path / "twin", corpus, REQUESTS, model=model)
    assert list(failed) == ["x"]
    assert "keys" in str(failed["x"])
    for name in twin.tensors:
        torch.testing.assert_close(result.tensors[name], twin.tensors[name])


class Crowded:
    """A device on which a pass over texts with some token does not fit."""

    def __init__(self, model: Any, id: int) -> None:
        self.id = id
        self.handle = model.base_model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is not None and bool((ids == self.id).any()):
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_group_that_alone_does_not_fit_in_memory_costs_its_facts(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    long = EditRequest("x", "Zzyx says that {} lives in", "Norway", "Rome")
    crowded = Crowded(model, token("Zzyx"))
    result, failed = built(tmp_path, corpus, [*REQUESTS[:3], long], model=model)
    assert list(failed) == ["x"]
    assert isinstance(failed["x"], OutOfMemory)
    assert set(result.groups) == {request.id for request in REQUESTS[:3]}
    with pytest.raises(OutOfMemory):  # the only one: it may be the machine, and may fit another time
        built(tmp_path, corpus, [long], model=model)
    crowded.handle.remove()


def test_where_nothing_is_left_nothing_is_changed(tmp_path: Path, corpus: Path) -> None:
    result, failed = built(tmp_path, corpus, [EditRequest("x", "{} is", "Norway", "")])
    assert list(failed) == ["x"]
    assert result.tensors == {}


def test_a_kl_prompt_that_cannot_be_used_is_left_out(tmp_path: Path, corpus: Path) -> None:
    kl = {"France": ["France " * 100 + "is"]}
    result = build(
        tiny("llama", dtype=torch.float32),
        tokenizer(TOKENIZER),
        inputs(tmp_path / "cache", corpus, REQUESTS[:1], kl_prompts=kl),
    )
    assert set(result.groups) == {REQUESTS[0].id}
