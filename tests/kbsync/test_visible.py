"""Nothing that a source, a file name or a server says acts on the terminal or forges a line of the log."""

from __future__ import annotations

import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from kbsync import console, logs
from kbsync.cli.failures import exit_code_of
from kbsync.errors import BadData
from kbsync.settings.operation import LogSettings
from kbsync.visible import HIDDEN, visible, visible_json
from tests.support.properties import drawing, editions

TRICK = "a\x1b]0;owned\x07\u202eb\x9b31m\nERROR all is well\r\u2066\ud800\U000e0041\u3164\u2800[red]"
SHOWN = r"a\u001b]0;owned\u0007\u202eb\u009b31m\u000aERROR all is well\u000d\u2066\ud800\U000e0041\u3164\u2800[red]"


def is_harmless(text: str) -> bool:
    return not HIDDEN.search(text.replace("\n", ""))


def test_what_a_reader_cannot_see_is_shown_as_an_escape() -> None:
    assert visible(TRICK) == SHOWN


@pytest.mark.parametrize(
    "text", ["Đặng Thị Ngọc Thịnh", "می‌خواهم", "日本のカタカナ", "Nº 5", "100 % \u00a0 {}"]
)
def test_names_as_people_write_them_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


def test_a_joiner_between_latin_letters_is_shown() -> None:
    assert visible("Ro\u200dme") == r"Ro\u200dme"


def test_a_label_without_end_is_cut() -> None:
    assert visible("x" * 1_000_000) == "x" * 2_000 + "… (998000 more characters)"


@editions(quick=200)
def test_what_is_shown_is_one_line_that_any_stream_takes(examples: int) -> None:
    @drawing(examples)
    @given(st.text(st.characters(exclude_categories=()), max_size=40))
    def holds(text: str) -> None:
        assert not HIDDEN.search(visible(text))
        assert len(visible(text).splitlines()) <= 1
        visible(text).encode("utf-8")

    holds()


@editions(quick=200)
def test_json_keeps_every_value_and_hides_nothing(examples: int) -> None:
    @drawing(examples)
    @given(st.text(st.characters(exclude_categories=()), max_size=40))
    def holds(text: str) -> None:
        document = visible_json(json.dumps({text: text}, ensure_ascii=False, indent=1))
        assert json.loads(document) == {text: text}
        assert is_harmless(document)

    holds()


def test_tables_messages_and_errors_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(TRICK, ("label",), [(TRICK,)])
    console.print_table(TRICK, ("label",), [], empty=TRICK)
    console.print_json({TRICK: TRICK})
    console.say(TRICK)
    assert exit_code_of(BadData(TRICK, TRICK)) == 65
    assert exit_code_of(RuntimeError(TRICK)) == 1
    for text in capsys.readouterr():
        assert text
        assert is_harmless(text)
        assert "[red]" in text  # rich's markup is shown, not obeyed


@pytest.fixture
def log_again() -> object:
    yield None
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.parametrize("format", ["json", "text"])
def test_log_lines_show_it_whoever_writes_them(
    format: str, capsys: pytest.CaptureFixture[str], log_again: object
) -> None:
    logs.configure(LogSettings(format=format))  # type: ignore[arg-type]
    log = structlog.get_logger()
    log.info("source.unavailable", source=TRICK, reason=[TRICK], cause=ValueError(TRICK))
    logging.getLogger("connectors.rows").warning("skipped %s", TRICK)
    secret = "hunter2"
    try:
        raise RuntimeError(f"{TRICK} {len(secret)}")
    except RuntimeError:
        log.exception(TRICK)
        logging.getLogger("connectors").exception(TRICK)
    text = capsys.readouterr().err
    assert is_harmless(text.replace("\x1b[", ""))  # ConsoleRenderer's own colours
    assert "owned" in text
    assert secret not in text
    assert not any(line.startswith("ERROR") for line in text.splitlines())
    if format == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
        assert lines[0]["source"] == TRICK
        assert TRICK in lines[1]["event"]
