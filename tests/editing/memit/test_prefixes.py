"""The contexts that edits are made behind: how many, how long, and kept once sampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editing.memit.prefixes import LONGEST, context_prefixes, long_lengths
from editing.settings import EditSettings
from tests.support.tiny_models import gpt2, tokenizer

SHORT = EditSettings(prefixes=2, prefix_tokens=4)


@pytest.fixture(scope="module")
def model() -> Any:
    return gpt2()


def prefixes(model: Any, settings: EditSettings, cache: Path) -> tuple[str, ...]:
    return context_prefixes(model, tokenizer(), settings, base_digest="base", cache=cache)


def test_long_contexts_are_of_evenly_spread_lengths_up_to_what_the_gate_asks_behind() -> None:
    assert [long_lengths(count) for count in (0, 1, 2, 3)] == [[], [50], [25, 50], [17, 33, 50]]
    assert LONGEST == 50


def test_long_contexts_come_after_the_others_which_stay_as_they_were(model: Any, tmp_path: Path) -> None:
    short = prefixes(model, SHORT, tmp_path)
    more = prefixes(model, replace(SHORT, long_prefixes=2), tmp_path)
    assert (len(short), len(more)) == (2, 4)
    assert more[:2] == short
    lengths = [len(tokenizer()(text)["input_ids"]) for text in more]
    assert lengths[3] > lengths[2] > max(lengths[:2])


def test_contexts_are_kept_by_their_number_and_lengths(model: Any, tmp_path: Path) -> None:
    kinds = (SHORT, replace(SHORT, long_prefixes=1), replace(SHORT, long_prefixes=2))
    first = [prefixes(model, settings, tmp_path) for settings in kinds]
    assert len(list((tmp_path / "prefixes").iterdir())) == 3
    assert [prefixes(model, settings, tmp_path) for settings in kinds] == first
