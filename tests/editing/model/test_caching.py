"""The name under which a cache is handed to a model follows the model, in every release of transformers."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from editing.model.caching import attending_to
from editing.model.continuing import FromCache, FromWhole
from editing.model.inference import Continuation
from tests.support.zoo import SHAPES, tiny


class Older(nn.Module):
    def forward(self, input_ids: Any, past_key_values: Any = None, use_cache: bool = False) -> Any: ...


class Newer(nn.Module):
    def forward(self, input_ids: Any, cache: Any = None, use_cache: bool = False) -> Any: ...


def test_a_model_is_given_its_cache_by_the_name_that_its_class_has() -> None:
    cache = object()
    assert attending_to(Older(), cache) == {"past_key_values": cache, "use_cache": True}
    assert attending_to(Newer(), cache) == {"cache": cache, "use_cache": True}
    assert attending_to(torch.compile(Older(), backend="eager"), cache) == attending_to(Older(), cache)
    assert attending_to(torch.compile(Newer(), backend="eager"), cache) == attending_to(Newer(), cache)


@pytest.mark.parametrize("kind", SHAPES)
def test_no_architecture_warns_when_a_text_is_continued(kind: str) -> None:
    model = tiny(kind, dtype=torch.float32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        continuation = Continuation(model, [(5, 6, 7), (8, 9)])
        continuation.append(torch.tensor([10, 11]))
        alone = Continuation(model, [(8, 9, 11)])
    assert torch.allclose(continuation.logits[1], alone.logits[0], atol=1e-4)
    assert isinstance(continuation._way, FromCache), "else nothing would have been continued"


@pytest.mark.parametrize("way", [FromCache, FromWhole])
@pytest.mark.parametrize("kind", SHAPES)
def test_rows_that_are_kept_go_on_as_if_they_had_been_alone(
    kind: str, way: type[FromCache | FromWhole]
) -> None:
    model = tiny(kind, dtype=torch.float32)
    with torch.no_grad():
        continuation = way(model, [(5, 6, 7), (8, 9), (3, 4, 5, 6)])
        continuation.append(torch.tensor([10, 11, 12]))
        before = continuation.logits
        continuation.keep([2, 1])
        assert torch.equal(continuation.logits, before[[2, 1]])
        continuation.append(torch.tensor([13, 14]))
        for row, text in enumerate([(3, 4, 5, 6, 12, 13), (8, 9, 11, 14)]):
            alone = Continuation(model, [text])
            assert torch.allclose(continuation.logits[row], alone.logits[0], atol=1e-4)
