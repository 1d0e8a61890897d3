"""Four facts, settings for them, and a build of a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from editing.editors.contract import BuildInputs
from editing.memit.build import MemitResult, build
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.zoo import tiny, tokenizer

SETTINGS = EditSettings(
    layers=(1, 2),
    steps=8,
    lr=0.2,
    clamp=2.0,
    lam=1.0,
    weight_decay=0.0,
    stop_loss=-1.0,
    prefixes=2,
    prefix_tokens=4,
    statistics_samples=50,
)
REQUESTS = [
    EditRequest("a", "The capital of {} is", "France", "Rome"),
    EditRequest("b", "{} lives in", "Ludwig", "Paris"),
    EditRequest("c", "{} is led by", "Norway", "Jonas Curie"),
    EditRequest("d", "{} worked in", "Marie Curie", "Vienna"),
]


def inputs(
    cache: Path, corpus: Path, requests: Any = REQUESTS, settings: EditSettings = SETTINGS, **more: Any
) -> BuildInputs:
    return BuildInputs(
        requests=requests, settings=settings, cache=cache, base_digest="base", corpus=[corpus], **more
    )


def built(
    cache: Path,
    corpus: Path,
    requests: Any = REQUESTS,
    settings: EditSettings = SETTINGS,
    *,
    model: Any = None,
    preserved: Any = (),
    kept: Any = (),
    max_rank: int | None = None,
    **calls: Any,
) -> MemitResult:
    return build(
        model or tiny("llama", dtype=torch.float32),
        tokenizer("byte-bpe"),
        inputs(cache, corpus, requests, settings, preserved=preserved, kept=kept, max_rank=max_rank),
        **calls,
    )
