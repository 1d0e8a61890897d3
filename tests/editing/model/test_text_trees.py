"""Texts that begin alike are read as a tree, with the logits that each has alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editing.evaluation import scoring
from editing.evaluation.scoring import Question, score
from editing.model import text_trees
from editing.model.text_trees import NODES, TextTree, attention_span, in_trees, logits_at, reads_trees
from tests.support.tiny_models import gpt2
from tests.support.zoo import DESCRIBED, SHAPES, tiny

TEXTS = [(5, 6, 7), (5, 6, 8, 9), (5, 6), (10, 6, 7), (5, 6, 8, 9)]


def test_what_texts_have_in_common_is_in_a_tree_once() -> None:
    tree = TextTree()
    paths = [tree.add(text) for text in TEXTS]
    assert [[tree.ids[node] for node in path] for path in paths] == [list(text) for text in TEXTS]
    assert len(tree.ids) == 8, "5 6 7, 8 9, and 10 6 7"
    assert [tree.depths[node] for node in paths[1]] == [0, 1, 2, 3]
    seen = tree.mask(torch.float32) == 0
    for path in paths:
        assert seen[path[-1]].nonzero()[:, 0].tolist() == path


def test_trees_are_as_large_as_they_may_be_and_have_every_text_once() -> None:
    texts = [(1, first, second) for first in range(8) for second in range(8)]
    trees = list(in_trees(texts, 20))
    assert sorted(index for tree in trees for index in tree) == list(range(len(texts)))
    for some in trees:
        tree = TextTree()
        for index in some:
            tree.add(texts[index])
        assert 11 <= len(tree.ids) <= 20
    assert list(in_trees([tuple(range(30))], 20)) == [[0]], "a longer text has a tree of its own"


@pytest.mark.parametrize("kind", [*SHAPES, *DESCRIBED])
@torch.no_grad()
def test_logits_in_a_tree_are_those_of_each_text_alone(kind: str) -> None:
    model = tiny(kind)
    tree = TextTree()
    paths = [tree.add(text) for text in TEXTS]
    if not reads_trees(model):
        assert kind == "gpt_neo", "its local attention counts places in a pass"
        return
    for path, text in zip(paths, TEXTS, strict=True):
        found = logits_at(model, tree, path)
        alone = model(torch.tensor([text]), use_cache=False).logits[0]
        assert torch.allclose(found, alone, atol=1e-6)


def test_a_model_whose_tokens_are_linked_otherwise_than_by_attention_reads_no_trees() -> None:
    model = gpt2()
    model.transformer.h[1].mlp.register_forward_hook(lambda _, __, output: output + output.cumsum(dim=1))
    assert not reads_trees(model)


def test_texts_that_a_window_cuts_are_not_read_as_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_trees, "LEAST", 1)
    model = tiny("mistral")
    span = attention_span(model)
    assert text_trees.saves_tokens(model, [(*range(span - 1), end) for end in (50, 51)])
    assert not text_trees.saves_tokens(model, [(*range(span), end) for end in (50, 51)])


def test_an_exam_is_scored_in_trees_as_it_is_in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gpt2()
    questions = [
        Question((1, 2, 3, subject, 4), (target, 7)) for subject in range(20, 100) for target in range(8, 12)
    ]
    runs: list[int] = []

    def counted(model: Any, tree: TextTree, nodes: list[int]) -> torch.Tensor:
        runs.append(len(tree.ids))
        return logits_at(model, tree, nodes)

    monkeypatch.setattr(scoring, "logits_at", counted)
    seen: dict[tuple[int, ...], torch.Tensor] = {}
    in_tree = score(model, questions, observe=seen.setdefault)
    assert sum(runs) < len(questions) * 6 / 2
    assert max(runs) <= NODES
    monkeypatch.setattr(scoring, "saves_tokens", lambda *_: False)
    observed: dict[tuple[int, ...], torch.Tensor] = {}
    in_rows = score(model, questions, observe=observed.setdefault)
    for one, other in zip(in_tree, in_rows, strict=True):
        assert one.right == other.right
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
    assert seen.keys() == observed.keys()
    assert all(torch.allclose(seen[prompt], observed[prompt], atol=1e-5) for prompt in seen)
