"""docs/editors.md lists every built-in editor, with its cache contract and its options."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from editing.baselines.ft_w import FtWOptions
from editing.baselines.locft_bf import LocFtBfOptions
from editing.baselines.mend import MendOptions
from editing.baselines.null_space import NullSpaceOptions
from editing.baselines.one_gradient import OneGradientOptions
from editing.baselines.rome import RomeOptions
from editing.baselines.sequences import (
    NullSpaceSequenceOptions,
    OneGradientSequenceOptions,
    SequenceOptions,
)
from editing.editors.registry import BUILT_IN, editor_named
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/editors.md").read_text(encoding="utf-8")
OPTIONS: dict[str, Any] = {
    "memit": None,
    "memit_null_space": NullSpaceOptions,
    "ft_w": FtWOptions,
    "locft_bf": LocFtBfOptions,
    "one_gradient": OneGradientOptions,
    "rome": RomeOptions,
    "mend": MendOptions,
    "memit_sequence": SequenceOptions,
    "null_space_sequence": NullSpaceSequenceOptions,
    "one_gradient_sequence": OneGradientSequenceOptions,
}


def rows(text: str) -> dict[str, list[str]]:
    """First cell, without quotes → the others."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def test_every_editor_is_listed_with_its_cache_contract() -> None:
    overview = rows(PAGE.partition("## Options")[0])
    assert overview.keys() == set(BUILT_IN)
    for name, cells in overview.items():
        assert cells[-1] == f"`{editor_named(name).reuse}`"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_is_documented_with_its_default(name: str) -> None:
    section = PAGE.partition(f"### {name}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    documented = {option: cells[0].replace("−", "-") for option, cells in rows(section).items()}
    kind = OPTIONS[name]
    stated = {} if kind is None else {one.name: f"{one.default:g}" for one in fields(kind)}
    assert documented == stated
