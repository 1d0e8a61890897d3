"""The files of an experiment."""

from __future__ import annotations

import json

from kbsync.experiments.report import compact


def test_json_is_indented_but_a_row_takes_one_line() -> None:
    content = {
        "a": 1,
        "empty": {},
        "none": [],
        "rows": [["é · P30", 0.5, None], ["b", 1, 2]],
        "in": {"x": [1, 2]},
    }
    text = compact(content)
    assert json.loads(text) == content
    assert text.splitlines() == [
        "{",
        ' "a": 1,',
        ' "empty": {},',
        ' "none": [],',
        ' "rows": [',
        '  ["é · P30", 0.5, null],',
        '  ["b", 1, 2]',
        " ],",
        ' "in": {',
        '  "x": [1, 2]',
        " }",
        "}",
    ]
