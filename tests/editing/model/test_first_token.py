"""A subject is never read at the first token of a text where that token is an attention sink."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing import EditRequest
from editing.editors.contract import BuildInputs
from editing.memit.preparation import prepare
from editing.model.architectures import locate_parts
from editing.model.first_token import away_from_start, lead_of
from editing.model.loading import load_model, load_tokenizer
from editing.model.tokens import LEAD
from editing.settings import EditSettings
from editing.spec import BuildSpec, Case, FactSpec, Wording
from editing.worker.beginnings import without_first_tokens
from kbsync.demo.setting import MODEL
from tests.support.zoo import tiny, tokenizer

GERMANY = EditRequest("a", "{} is a country on the continent of", "Germany", "Asia")


@pytest.fixture(scope="module")
def loaded(pretrained: Path):
    return load_model(pretrained, device="cpu"), load_tokenizer(pretrained)


@pytest.mark.pretrained
def test_a_real_model_without_bos_has_a_sink_at_its_first_token(loaded) -> None:
    model, words = loaded
    assert lead_of(model, locate_parts(model), words) == LEAD


@pytest.mark.pretrained
def test_no_text_of_an_edit_of_that_model_has_its_subject_there(loaded, tmp_path: Path) -> None:
    model, words = loaded
    apple = EditRequest("b", "The chief executive of {} is", "Apple", "Ada Lovelace")
    inputs = BuildInputs(
        requests=[GERMANY, apple],
        settings=EditSettings(prefixes=1),
        cache=tmp_path,
        base_digest="base",
        corpus=(),
        kl_prompts={"Apple": ["{} was founded by", "Apple sells"]},
        preserved=[EditRequest("c", "{} borders on", "France", "Spain")],
    )
    job = prepare(model, words, inputs, None)
    groups = [*job.groups, *job.preserved]
    assert len(groups) == 3
    assert all(term.text.subject > 0 for group in groups for term in group.terms)
    assert all(len(ids) > 1 for group in groups for ids in group.contexts)


@pytest.mark.parametrize("lead", ["", LEAD])
def test_what_was_measured_already_is_not_measured_again(
    lead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("editing.memit.preparation.lead_of")
    inputs = BuildInputs(
        requests=[EditRequest("a", "{} has the capital", "France", "Rome")],
        settings=EditSettings(prefixes=1, prefix_tokens=4),
        cache=tmp_path,
        base_digest="base",
        corpus=(),
        lead=lead,
    )
    (group,) = prepare(load_model(MODEL, device="cpu"), load_tokenizer(MODEL), inputs, None).groups
    bare = min((term.text for term in group.terms), key=lambda text: len(text.ids))
    assert (bare.subject > 0) == bool(lead)


def test_the_demos_model_reads_its_first_token_like_any_other() -> None:
    model = load_model(MODEL, device="cpu")
    assert lead_of(model, locate_parts(model), load_tokenizer(MODEL)) == ""


@pytest.mark.parametrize("kind", ["byte-bpe", "sentencepiece-bos"])
def test_an_untrained_model_has_no_sink(kind: str) -> None:
    model = tiny("llama", dtype=torch.float32)
    assert lead_of(model, locate_parts(model), tokenizer(kind)) == ""


PROMPTS = [
    ("{} has the capital", "France", True),
    ("France has the capital", "France", True),
    ("{} has the capital", "Qwertzuiop", False),  # its last token is not the first
    ("The capital of {} is", "France", False),
    ("Norway borders on", "France", False),
]


@pytest.mark.parametrize(("prompt", "subject", "moves"), PROMPTS)
def test_only_a_subject_that_ends_in_the_first_token_is_moved(prompt: str, subject: str, moves: bool) -> None:
    (found,) = away_from_start(load_tokenizer(MODEL), LEAD, [(prompt, subject)])
    assert found == (f"{LEAD} {prompt}" if moves else prompt)


def test_with_bos_nothing_is_moved() -> None:
    pairs = [(prompt, subject) for prompt, subject, _ in PROMPTS]
    found = away_from_start(tokenizer("sentencepiece-bos"), LEAD, pairs)
    assert found == [prompt for prompt, _, _ in PROMPTS]


def test_a_fact_is_edited_and_asked_in_the_same_words() -> None:
    fact = FactSpec(
        id="1",
        prompt="{} has the capital",
        subject="France",
        target="Rome",
        variants=("The capital of {} is",),
        further=(Wording("{} is the capital of", "Rome", "France"),),
        paraphrases=("France is governed from", "The seat of France is"),
        reversed=(Case("Rome is the capital of", "France"),),
        neighbours=(Case("Norway has the capital"),),
        same_subject=(Case("France borders on"),),
    )
    spec = BuildSpec("run", "base", "digest", "out", "cache", (), None, (fact,))
    assert without_first_tokens(load_tokenizer(MODEL), "", spec) is spec
    (moved,) = without_first_tokens(load_tokenizer(MODEL), LEAD, spec).facts
    assert moved == FactSpec(
        id="1",
        prompt=f"{LEAD} {{}} has the capital",
        subject="France",
        target="Rome",
        variants=("The capital of {} is",),
        further=(Wording(f"{LEAD} {{}} is the capital of", "Rome", "France"),),
        paraphrases=(f"{LEAD} France is governed from", "The seat of France is"),
        reversed=(Case(f"{LEAD} Rome is the capital of", "France"),),
        neighbours=(Case("Norway has the capital"),),
        same_subject=(Case(f"{LEAD} France borders on"),),
    )
