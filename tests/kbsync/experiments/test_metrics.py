"""Appendix C: every measure against values worked out by hand, and against a plain reading on random models."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import harmonic_mean, mean
from typing import Any

import pytest
import torch

from editing.datasets import Record
from editing.evaluation.entropy import ngram_entropy, ngram_entropy_released
from editing.evaluation.published import CounterFactCase, counterfact, zsre_accuracy
from editing.evaluation.references import TfIdf
from editing.evaluation.scoring import Score, encode_targets, score
from editing.requests import EditRequest
from kbsync.experiments.cases import EditCase
from kbsync.experiments.measuring import fact_scores, questions
from tests.support import tiny_models

EXACT = 1e-6


def found(*right: bool, p: float = 0.5) -> Score:
    return Score(right, math.log(p))


def test_efficacy_paraphrase_neighbourhood_and_s_by_hand() -> None:
    one = CounterFactCase("p", "new", "old", ("q1", "q2"), (("n1", "old"), ("n2", "old"), ("n3", "old")))
    other = CounterFactCase("r", "new", "old", ("s1",), (("m1", "x"),))
    likely, unlikely = found(True, p=0.4), found(True, p=0.3)
    scores = {
        ("p", "new"): likely, ("p", "old"): unlikely,
        ("q1", "new"): likely, ("q1", "old"): unlikely, ("q2", "new"): unlikely, ("q2", "old"): likely,
        ("n1", "old"): likely, ("n1", "new"): unlikely, ("n2", "old"): unlikely, ("n2", "new"): likely,
        ("n3", "old"): likely, ("n3", "new"): likely,
        ("r", "new"): unlikely, ("r", "old"): likely,
        ("s1", "new"): likely, ("s1", "old"): unlikely,
        ("m1", "x"): likely, ("m1", "new"): unlikely,
    }  # fmt: skip
    values = counterfact([one, other], scores)
    assert values.efficacy == pytest.approx(1 / 2, abs=EXACT)
    assert values.paraphrase == pytest.approx((1 / 2 + 1) / 2, abs=EXACT)
    assert values.neighbourhood == pytest.approx((1 / 3 + 1) / 2, abs=EXACT)  # a tie is no success
    assert values.score == pytest.approx(3 / (1 / 0.5 + 1 / 0.75 + 1 / (2 / 3)), abs=EXACT)


def test_zsre_accuracy_by_hand() -> None:
    pairs = {
        ("p", "a"): found(True, False),
        ("q", "a"): found(True, True),
        ("r", "b"): found(False, False, True),
    }
    assert zsre_accuracy([[("p", "a"), ("q", "a")], [("r", "b")]], pairs) == pytest.approx(
        ((1 / 2 + 1) / 2 + 1 / 3) / 2, abs=EXACT
    )


def test_generation_entropy_by_hand_in_both_conventions() -> None:
    # "a b a b c": bigrams ab ×2, ba, bc; trigrams aba, bab, abc, each once.
    two = -(0.5 * math.log2(0.5) + 2 * 0.25 * math.log2(0.25))
    three = math.log2(3)
    assert ngram_entropy("a b a b c") == pytest.approx(2 / 3 * two + 4 / 3 * three, abs=EXACT)
    assert ngram_entropy_released("a b a b c") == pytest.approx((2 / 3 * two + 4 / 3 * three) / 2, abs=EXACT)
    assert ngram_entropy("a a a a") == pytest.approx(0.0, abs=EXACT)


def test_reference_score_by_hand() -> None:
    weights = TfIdf.of(["red boat", "red house", "old mill"])
    red, boat = math.log(4 / 3) + 1, math.log(4 / 2) + 1
    assert weights.idf["red"] == pytest.approx(red, abs=EXACT)
    assert weights.idf["boat"] == pytest.approx(boat, abs=EXACT)
    # "Red red boat, x": counts 2 and 1; a one-letter word does not count, nor does an unknown one.
    expected = (2 * red * red) / (math.hypot(2 * red, boat) * math.hypot(red, boat))
    assert weights.similarity("Red red boat, x unseen", "red house") == pytest.approx(expected, abs=EXACT)
    assert weights.similarity("red boat", "boat RED") == pytest.approx(1.0, abs=EXACT)
    assert weights.similarity("nothing known", "red boat") == 0.0


def plain_similarity(texts: Sequence[str], one: str, other: str) -> float:
    """The same with dense vectors, word by word."""
    split = [re.findall(r"(?u)\b\w\w+\b", text.lower()) for text in texts]
    vocabulary = sorted({word for text in split for word in text})
    idf = [math.log((1 + len(texts)) / (1 + sum(w in text for text in split))) + 1 for w in vocabulary]

    def vector(text: str) -> list[float]:
        counts = Counter(re.findall(r"(?u)\b\w\w+\b", text.lower()))
        raw = [counts[word] * weight for word, weight in zip(vocabulary, idf, strict=True)]
        norm = math.sqrt(sum(v * v for v in raw))
        return [v / norm for v in raw]

    return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))


def test_reference_score_agrees_with_dense_vectors() -> None:
    texts = list(tiny_models.SENTENCES)
    weights = TfIdf.of(texts)
    for one in texts:
        for other in texts:
            assert weights.similarity(one, other) == pytest.approx(
                plain_similarity(texts, one, other), abs=EXACT
            )


PROMPTS = ("The capital of Italy is", "Italy's capital,", "The president of France is", "Brazil speaks")
NEW, OLD = "Paris in Germany", "Rome"


def plain_logprob(model: Any, tokenizer: Any, prompt: str, answer: str) -> tuple[float, list[bool]]:
    """Mean log P of an answer's tokens, one pass for each token, and whether each is the only argmax."""
    ids = tokenizer(f"{prompt} {answer}")["input_ids"]
    start = len(tokenizer(prompt)["input_ids"])
    total, right = 0.0, []
    for position in range(start, len(ids)):
        with torch.no_grad():
            logits = model(torch.tensor([ids[:position]])).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[ids[position]])
        right.append(int(logits.argmax()) == ids[position])
    return total / (len(ids) - start), right


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_measures_agree_with_a_plain_reading_on_random_models(seed: int) -> None:
    model, tokenizer = tiny_models.gpt2(seed), tiny_models.tokenizer()
    record = Record(
        EditRequest("1", "The capital of {} is", "Italy", NEW),
        previous=OLD,
        paraphrases=PROMPTS[1:2],
        neighbours=tuple((prompt, "Rome") for prompt in PROMPTS[2:]),
    )
    case = EditCase(record)
    pairs = questions(case, 0)
    scores = dict(zip(pairs, score(model, encode_targets(tokenizer, pairs)), strict=True))
    plain = {pair: plain_logprob(model, tokenizer, *pair) for pair in pairs}
    for pair, (logprob, right) in plain.items():
        assert scores[pair].logprob == pytest.approx(logprob, abs=EXACT)
        assert list(scores[pair].right) == right
    values = fact_scores(case, found=scores)
    es = float(plain[PROMPTS[0], NEW][0] > plain[PROMPTS[0], OLD][0])
    ps = float(plain[PROMPTS[1], NEW][0] > plain[PROMPTS[1], OLD][0])
    ns = mean(float(plain[p, "Rome"][0] > plain[p, NEW][0]) for p in PROMPTS[2:])
    for value, plainly in ((values.ES, es), (values.PS, ps), (values.NS, ns)):
        assert value == pytest.approx(plainly, abs=EXACT)
    assert values.strict == float(all(plain[PROMPTS[0], NEW][1]))
    assert values.accuracy == pytest.approx(mean(plain[PROMPTS[0], NEW][1]), abs=EXACT)
    assert values.specificity == pytest.approx(
        mean(mean(plain[p, "Rome"][1]) for p in PROMPTS[2:]), abs=EXACT
    )
    assert harmonic_mean([max(v, 0.1) for v in (es, ps, ns)]) > 0
