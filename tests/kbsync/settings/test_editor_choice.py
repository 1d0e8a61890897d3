"""`[edit] editor = "auto"`: the measurements decide, and a difference that may be chance does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing.editors.registry import editor_named
from editing.errors import SpecError
from editing.settings import EditSettings
from kbsync.errors import BadConfiguration
from kbsync.settings.editor_choice import chosen_editor
from kbsync.settings.loading import load

BASE = "b" * 64


def row(
    editor: str,
    score: tuple[float, float, float] | None,
    *,
    reuse: str = "fact",
    perplexity: float = 1.0,
    error: str = "",
) -> dict[str, Any]:
    """A row as `kbsync bench editors` writes it, as far as it is read."""
    value = None if score is None else dict(zip(("low", "value", "high"), score, strict=True))
    seeds = [{"perplexity_ratio": 1.0}, {"perplexity_ratio": perplexity}]
    return {"editor": editor, "reuse": reuse, "S": value, "error": error, "by_fact": seeds}


def measured(directory: Path, *rows: dict[str, Any], base: str = BASE) -> Path:
    file = directory / "editors.json"
    content: dict[str, Any] = {"experiment": "editors", "model": {"digest": base}, "results": rows}
    content["options"] = {"ft_w": {"lr": 0.002}}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


MEMIT = row("memit", (0.80, 0.85, 0.90))


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([MEMIT, row("locft_bf", (0.91, 0.95, 0.99), reuse="view")], "locft_bf"),
        ([MEMIT, row("locft_bf", (0.90, 0.95, 0.99), reuse="view")], "memit"),
        ([MEMIT, row("rome", (0.95, 0.97, 0.99), reuse="order")], "memit"),
        ([MEMIT, row("ft_w", (0.95, 0.97, 0.99), reuse="view", perplexity=1.2)], "memit"),
        ([row("memit", (0.8, 0.85, 0.9), perplexity=1.3), row("a", (0.92, 0.95, 0.99), perplexity=1.2)], "a"),
        ([MEMIT, row("retrieval", (0.95, 0.97, 0.99))], "memit"),
        ([MEMIT, row("mine", None, error="out of memory")], "memit"),
        ([row("x", (0.1, 0.2, 0.3)), row("y", (0.2, 0.3, 0.4))], "y"),
    ],
    ids=[
        "clearly better",
        "overlaps",
        "in sequence",
        "ruins language",
        "no worse language",
        "no editor",
        "failed",
        "no memit",
    ],
)
def test_the_best_editor_is_chosen_where_the_difference_is_clear(
    rows: list[dict[str, Any]], name: str, tmp_path: Path
) -> None:
    assert chosen_editor(measured(tmp_path, *rows), BASE) == (name, {})
    assert chosen_editor(measured(tmp_path, *rows[::-1]), BASE) == (name, {})


def test_measurements_of_another_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="measured on another base") as refused:
        chosen_editor(measured(tmp_path, MEMIT, base="a" * 64), BASE)
    assert "kbsync bench editors" in (refused.value.advice or "")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"experiment": "scaling"}', '{"experiment": "editors", "model": {"digest": "b"}}'],
)
def test_a_file_that_holds_something_else_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadConfiguration, match=r"other\.json cannot be read"):
        chosen_editor(file, BASE)


def test_without_a_score_there_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"no editor in .* has a score"):
        chosen_editor(measured(tmp_path, row("memit", None, error="no facts")), BASE)
    with pytest.raises(BadConfiguration, match="there is no file"):
        chosen_editor(tmp_path / "missing.json", BASE)


def test_the_settings_file_names_the_measurements_relative_to_itself(tmp_path: Path) -> None:
    measured(tmp_path, MEMIT, row("ft_w", (0.92, 0.95, 0.99), reuse="view"))
    file = tmp_path / "kbsync.toml"
    file.write_text('[edit]\neditor = "auto"\n[calibration]\neditors = "editors.json"\n', encoding="utf-8")
    settings = load(file, {})
    chosen = settings.edit_settings(EditSettings(), BASE)
    assert (chosen.editor, chosen.options) == ("ft_w", {"lr": 0.002}), "with the options it was measured with"
    with pytest.raises(BadConfiguration, match="another base"):
        settings.edit_settings(EditSettings(), "c" * 64)


@pytest.mark.parametrize(
    ("more", "said"),
    [("", "needs measurements"), ("[edit.options]\nlr = 0.1\n", r"there can be no \[edit.options\]")],
)
def test_auto_without_measurements_or_with_options_says_what_to_do(
    more: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(f'[edit]\neditor = "auto"\n{more}', encoding="utf-8")
    with pytest.raises(BadConfiguration, match=said):
        load(file, {}).edit_settings(EditSettings(), BASE)


def test_a_named_editor_needs_no_measurements(tmp_path: Path) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text('[edit]\neditor = "ft_w"\noptions = { lr = 0.1 }\n', encoding="utf-8")
    assert load(file, {}).edit_settings(EditSettings(), BASE).editor == "ft_w"


def test_outside_a_home_auto_says_to_name_an_editor() -> None:
    with pytest.raises(SpecError, match=r"chosen from a home's measurements.*available: .*memit"):
        editor_named("auto")
