"""The reference pages say what the code does."""

from __future__ import annotations

import importlib.util
import re

import pytest

from kbsync.cli.failures import EXIT_CODES, codes
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


def test_every_exit_code_that_a_command_ends_with_is_explained() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    used = set(codes().values())
    for file in (REPOSITORY / "kbsync").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        used |= {int(code) for code in re.findall(r"exit_code(?:: ClassVar\[int\])? = (\d+)", text)}
        used |= {int(code) for code in re.findall(r"(?:typer\.Exit|sys\.exit)\((\d+)\)", text)}
    assert used <= set(EXIT_CODES)
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in page
