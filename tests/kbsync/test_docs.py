"""The reference pages say what the code does."""

from __future__ import annotations

import importlib.util

import pytest

from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
_spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == generate.PAGES[name](), (
        "run `python docs/generate.py`"
    )


def test_every_setting_says_what_it_is_for() -> None:
    for line in (DOCS / "settings.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), f"a setting without a meaning: {line}"
