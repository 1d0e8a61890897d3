"""Every rule, setting and reason is documented, and nothing is documented that is not there."""

from __future__ import annotations

import re

import pytest

from kbsync.admission.codes import CODES, UNAPPROVABLE
from kbsync.admission.policy import Policy
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "admission.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, flags=re.MULTILINE))


@pytest.mark.parametrize("code", CODES)
def test_every_reason_has_its_row(code: str) -> None:
    assert code in ROWS


def test_no_row_is_about_a_reason_that_does_not_exist() -> None:
    assert set(ROWS) == set(CODES)


@pytest.mark.parametrize("setting", sorted(Policy.model_fields.keys() - {"relations", "sources"}))
def test_every_setting_is_named(setting: str) -> None:
    assert re.search(rf"`{setting}\b", PAGE)


def test_what_no_approval_lifts_is_said() -> None:
    said = {code for code, row in ROWS.items() if row.rstrip().rsplit("|", 1)[-1].strip().startswith("none")}
    assert said == UNAPPROVABLE
