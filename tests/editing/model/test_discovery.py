"""Parts are found in a model's modules, whatever its family; the page of architectures says the same."""

from __future__ import annotations

import pytest
import torch

from docs.architectures import PAGE, row
from editing.errors import ArchitectureError
from editing.model.architectures import TABLE, locate_parts
from editing.model.discovery import block_parts, find_blocks
from tests.support.exactness import examine
from tests.support.families import CAUSAL, SEEING, tiny_family
from tests.support.zoo import SHAPES, tiny

QUICK = ("bloom", "granite", "jamba", "openai-gpt", "qwen3_5_text", "mistral3", "mixtral", "mamba")


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_discovery_finds_what_the_table_says(kind: str) -> None:
    model = tiny(kind, dtype=torch.float32)
    parts = locate_parts(model)
    assert find_blocks(model) == parts.architecture.blocks
    for block, listed in zip(parts.blocks, parts.inside, strict=True):
        found = block_parts(block, parts.width)
        assert (found.writer, found.norm) == (listed.writer, listed.norm)
    assert kind in TABLE


def test_parts_are_found_without_any_weights() -> None:
    with torch.device("meta"):
        found = locate_parts(tiny_family("bloom", dtype=torch.float32))
    assert found.weight_name(1) == "transformer.h.1.mlp.dense_4h_to_h.weight"


def test_a_dense_layer_of_a_mixture_is_edited_and_a_routed_one_refused() -> None:
    parts = locate_parts(tiny_family("jamba", dtype=torch.float32))
    assert 0 < len(parts.editable) < len(parts.blocks)
    assert set(parts.default_layers()) <= set(parts.editable)
    routed = next(layer for layer in range(len(parts.blocks)) if layer not in parts.editable)
    with pytest.raises(ArchitectureError, match=f"layer {routed} .*mixture of experts"):
        parts.writer(routed)


def test_a_shared_expert_behind_a_gate_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="weighted by a gate"):
        locate_parts(tiny_family("qwen2_moe", dtype=torch.float32))


def lines() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    return {
        line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")
    }


def test_every_causal_family_is_on_the_page_and_most_are_exact() -> None:
    listed = lines()
    assert set(listed) - {"family"} == {*CAUSAL, *SEEING}
    assert sum("| yes |" in line for line in listed.values()) >= 70


@pytest.mark.parametrize("kind", QUICK)
def test_the_page_says_how_a_family_fares(kind: str) -> None:
    assert lines()[kind] == row(kind, examine(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in (*CAUSAL, *SEEING) if kind not in QUICK])
def test_the_page_says_how_every_family_fares(kind: str) -> None:
    assert lines()[kind] == row(kind, examine(kind))
