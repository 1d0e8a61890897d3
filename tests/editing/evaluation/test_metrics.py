"""Measuring: batched scores agree with one plain forward pass a case, and published formulas with examples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editing.errors import DataError
from editing.evaluation.entropy import ngram_entropy, ngram_entropy_released
from editing.evaluation.generation import generate
from editing.evaluation.metrics import answers, perplexity, strict_argmax, text_windows, weight_growth
from editing.evaluation.published import CounterFactCase, CounterFactScores, counterfact, zsre_accuracy
from editing.evaluation.scoring import (
    Question,
    Score,
    answer_length,
    continue_greedily,
    cut_answer,
    encode_targets,
    score,
    sole_argmax,
)
from editing.evaluation.words import contains
from tests.support.tiny_models import SENTENCES, gpt2, llama, tokenizer

PAIRS = [
    ("The capital of Italy is", "Rome"),
    ("The capital of Italy is", "Paris"),
    ("The president of the United States is", "Joe Biden"),
    ("The language of Brazil is", "Portuguese, of course"),
    ("Germany", "is governed by Olaf Scholz"),
    ("Olaf Scholz was born in", "Osnabrück"),
]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return gpt2() if request.param == "gpt2" else llama()


@pytest.fixture(scope="module")
def tok() -> Any:
    return tokenizer()


@torch.no_grad()
def plain(model: Any, question: Question) -> tuple[list[bool], float]:
    """One unbatched forward pass over the whole text, all logits."""
    ids = torch.tensor([question.prompt + question.target])
    logits = model(ids).logits[0, len(question.prompt) - 1 : -1]
    logprobs = logits.log_softmax(-1).gather(-1, ids[0, len(question.prompt) :, None])[:, 0]
    return (logits.argmax(-1) == ids[0, len(question.prompt) :]).tolist(), float(logprobs.mean())


def test_batched_scores_are_those_of_one_forward_pass_a_case(model: Any, tok: Any) -> None:
    questions = encode_targets(tok, PAIRS)
    for question, found in zip(questions, score(model, questions), strict=True):
        right, logprob = plain(model, question)
        assert list(found.right) == right
        assert found.logprob == pytest.approx(logprob, abs=1e-5)
        assert found.probability == pytest.approx(math.exp(logprob), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(st.integers(1, 380), min_size=2, max_size=12), min_size=1, max_size=8))
def test_a_score_does_not_depend_on_its_company(rows: list[list[int]]) -> None:
    model = gpt2()
    questions = [Question(tuple(row[:1]), tuple(row[1:])) for row in rows]
    together = score(model, questions)
    for question, found in zip(questions, together, strict=True):
        (alone,) = score(model, [question])
        assert alone.right == found.right
        assert alone.logprob == pytest.approx(found.logprob, abs=1e-5)


def test_what_is_greedily_said_is_strictly_right_and_nothing_else_is(model: Any, tok: Any) -> None:
    prompts = [question.prompt for question in encode_targets(tok, PAIRS)]
    said = continue_greedily(model, prompts, 5)
    assert all(
        item.strict for item in score(model, [Question(*pair) for pair in zip(prompts, said, strict=True)])
    )
    other = [Question(p, (*s[:-1], (s[-1] + 1) % 400)) for p, s in zip(prompts, said, strict=True)]
    assert not any(item.strict for item in score(model, other))


def test_a_tie_or_a_nan_is_nobody_s_argmax() -> None:
    assert sole_argmax(torch.tensor([1.0, 3.0, 2.0])) == 1
    assert sole_argmax(torch.tensor([3.0, 3.0, 2.0])) == -1
    assert sole_argmax(torch.tensor([float("nan")] * 3)) == -1


def test_targets_are_tokenised_as_running_text(tok: Any) -> None:
    (question,) = encode_targets(tok, [("The capital of Italy is", "Rome")])
    assert question.prompt + question.target == tuple(tok("The capital of Italy is Rome")["input_ids"])
    assert tok.decode(question.target) == " Rome"


@pytest.mark.parametrize(
    ("text", "target", "answer"),
    [
        (" Rome. The", "", "Rome"),
        (" Rome.", "", "Rome"),
        (" Rome\nThe", "", "Rome"),
        (" Joseph R. Biden, who", "", "Joseph R. Biden"),
        (" St. Petersburg. It", "", "St. Petersburg"),
        (" U.S. dollar.", "", "U.S. dollar"),
        (" Washington, D.C. It", "", "Washington"),
        (" Washington, D.C. It", "Washington, D.C.", "Washington, D.C."),
        (" 10,000 m. It", "", "10,000 m"),
        (" Amazon.com, a", "", "Amazon.com"),
        (" Rome.::::", "", "Rome"),
        ("", "", ""),
        ("...", "", "."),
    ],
)
def test_an_answer_ends_where_the_object_ends(text: str, target: str, answer: str) -> None:
    assert text[: answer_length(text, target)].strip() == answer


def test_the_tokens_of_an_answer_spell_it(tok: Any) -> None:
    ids = tuple(tok(" Joe Biden. The capital of")["input_ids"])
    text, kept = cut_answer(tok, ids)
    assert text == "Joe Biden"
    assert tok.decode(kept) == " Joe Biden"


def test_answers_are_cut_for_people(model: Any, tok: Any) -> None:
    for answer in answers(model, tok, [prompt for prompt, _ in PAIRS]):
        assert answer == answer.strip()
        assert "\n" not in answer


def scores_of(model: Any, tok: Any, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Score]:
    return dict(zip(pairs, score(model, encode_targets(tok, pairs)), strict=True))


def test_counterfact_scores_are_means_over_cases_of_means_over_prompts(model: Any, tok: Any) -> None:
    cases = [
        CounterFactCase(
            "The capital of Italy is",
            "Paris",
            "Rome",
            ("Italy's capital is", "Rome? No:"),
            (("A", "Rome"), ("B", "Rome")),
        ),
        CounterFactCase("The capital of France is", "Rome", "Paris", ("France:",), ()),
    ]
    found = counterfact(cases, scores_of(model, tok, [pair for case in cases for pair in case.asked()]))

    def prefers(prompt: str, a: str, b: str) -> bool:
        first, second = score(model, encode_targets(tok, [(prompt, a), (prompt, b)]))
        return first.probability > second.probability

    one, two = cases
    assert (
        found.efficacy == (prefers(one.prompt, one.new, one.old) + prefers(two.prompt, two.new, two.old)) / 2
    )
    first = sum(prefers(p, one.new, one.old) for p in one.paraphrases) / 2
    assert found.paraphrase == (first + prefers("France:", two.new, two.old)) / 2
    assert found.neighbourhood == sum(prefers(p, one.old, one.new) for p, _ in one.neighbours) / 2


def test_the_score_is_a_harmonic_mean_and_nothing_without_all_parts() -> None:
    assert CounterFactScores(1.0, 0.5, 0.5).score == pytest.approx(0.6)
    assert CounterFactScores(1.0, 0.5, 0.0).score == 0
    assert CounterFactScores(1.0, None, 0.5).score is None


def test_zsre_accuracy_counts_tokens_then_pairs(model: Any, tok: Any) -> None:
    questions = encode_targets(tok, PAIRS)
    expected = [sum(right) / len(right) for right, _ in (plain(model, question) for question in questions)]
    found = scores_of(model, tok, PAIRS)
    assert zsre_accuracy([[pair] for pair in PAIRS], found) == pytest.approx(sum(expected) / len(expected))
    halves = (sum(expected[:2]) / 2 + sum(expected[2:]) / 4) / 2
    assert zsre_accuracy([PAIRS[:2], PAIRS[2:], []], found) == pytest.approx(halves)
    assert zsre_accuracy([], found) is None


def test_what_is_stated_is_the_strict_argmax_of_every_token(model: Any, tok: Any) -> None:
    scores = score(model, encode_targets(tok, PAIRS))
    assert strict_argmax(model, tok, PAIRS) == [item.strict for item in scores]
    assert [item.accuracy == 1 for item in scores] == [item.strict for item in scores]


def test_perplexity_is_that_of_the_plain_loss(model: Any, tok: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(" ".join(SENTENCES))
    windows = text_windows(model, tok, tmp_path / "text")
    ids = tok(" ".join(SENTENCES), return_tensors="pt")["input_ids"]
    assert torch.equal(torch.cat(windows, dim=1), ids)
    with torch.no_grad():
        losses = [(float(model(w, labels=w).loss), w.shape[1] - 1) for w in windows]
    total = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
    assert perplexity(model, windows) == pytest.approx(math.exp(total), rel=1e-4)


def test_held_out_text_that_cannot_be_used_is_named(model: Any, tok: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        text_windows(model, tok, tmp_path / "nowhere")
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="fewer than two tokens"):
        text_windows(model, tok, tmp_path / "empty")


def test_weight_growth_is_the_largest() -> None:
    before = {"a": torch.ones(2, 2), "b": torch.ones(3)}
    assert weight_growth(before, {"a": torch.ones(2, 2) * 3, "b": torch.ones(3)}) == pytest.approx(3)
    assert weight_growth(before, {}) == 1


def test_generated_text_depends_on_seed_and_prompt_not_on_company(model: Any, tok: Any) -> None:
    prompts = [prompt for prompt, _ in PAIRS[1:]]
    together = generate(model, tok, prompts, tokens=12, seed=1)
    assert together == [generate(model, tok, [prompt], tokens=12, seed=1)[0] for prompt in prompts]
    assert together != generate(model, tok, prompts, tokens=12, seed=2)


def test_generated_text_ends_where_the_context_does(model: Any, tok: Any) -> None:
    prompt = " ".join(SENTENCES[:2] * 3)
    assert generate(model, tok, [prompt], tokens=10_000)


def test_sampling_follows_the_top_k_distribution() -> None:
    from editing.evaluation.generation import _noise

    logits = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    noise = _noise("a prompt", seed=0, tokens=20_000, top_k=3)
    shares = (logits + noise).argmax(-1).bincount(minlength=3) / 20_000
    assert torch.allclose(shares.double(), logits.softmax(-1), atol=0.02)


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("the capital is  rome, of course", "Rome", True),
        ("Romeo and Juliet", "Rome", False),
        ("Romeo met Joe\nBiden", "Joe Biden", True),
        ("", "Rome", False),
        ("Rome", "Rome", True),
    ],
)
def test_an_object_is_said_as_words_of_its_own(text: str, target: str, said: bool) -> None:
    assert contains(text, target) is said


def test_ngram_entropy_by_hand() -> None:
    assert ngram_entropy("a a a a a") == 0
    # a b a b: bigrams ab, ba, ab -> H2 = 0.918; trigrams aba, bab -> H3 = 1
    two = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert ngram_entropy("a b a b") == pytest.approx(2 / 3 * two + 4 / 3)
    assert ngram_entropy_released("a b a b") == pytest.approx((2 / 3 * two + 4 / 3) / 2)
    assert ngram_entropy("a b") == 0
