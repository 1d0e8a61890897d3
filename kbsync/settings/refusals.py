"""`[refusals]`: prompts that the base refuses, and that every candidate must still refuse."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from editing.durable import open_regular
from editing.refusals import PHRASES
from kbsync.errors import BadConfiguration, BadData
from kbsync.settings.section import Section

MOST_BYTES = 4 << 20
LONGEST = 10_000


class RefusalSettings(Section):
    """Prompts that the base refuses, and that every candidate must still refuse."""

    prompts: Path | None = Field(
        None, description="text file with a prompt on each line; only those that the base refuses are judged"
    )
    phrases: tuple[str, ...] = Field(
        PHRASES, min_length=1, description="how a refusal begins, ignoring case and white space"
    )


def read_refusals(path: Path | None) -> tuple[str, ...]:
    """The prompts in `path`, or none if `path` is None; empty lines are skipped.

    Raises BadConfiguration if the file cannot be read, and BadData if it is not such a list.
    """
    if path is None:
        return ()
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise BadConfiguration(
            f"the prompts in {path} cannot be read: {error.strerror}", "check the path and its mode"
        ) from error
    except UnicodeDecodeError as error:
        raise BadData(f"the prompts in {path} are not UTF-8: {error}", "save the file as UTF-8") from error
    if len(content) > MOST_BYTES or any(len(line) > LONGEST for line in lines):
        raise BadData(
            f"{path} has more than {MOST_BYTES} bytes, or {LONGEST} characters in a line",
            "write one prompt on each line",
        )
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
