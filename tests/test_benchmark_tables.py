"""Tables of measured figures are those of the results that are kept beside the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.chat_tables import PAGE, filled, tables


def test_the_tables_about_the_chat_model_are_those_of_its_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, tables()), "run `python -m benchmarks.chat_tables`"


def test_a_table_without_a_place_is_noticed() -> None:
    with pytest.raises(ValueError, match="has 0 places for the table 'other'"):
        filled("<!-- one -->\n<!-- end of one -->\n", {"other": "| a |\n"})


def test_a_table_replaces_what_stands_in_its_place_and_nothing_else() -> None:
    page = "before\n<!-- one -->\nold\n<!-- end of one -->\nafter\n"
    assert filled(page, {"one": "new\n"}) == page.replace("old", "new")
