"""The operator's own questions: a JSONL file of prompts, each with the answer that every candidate must give."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editing.durable import open_regular
from editing.spec import Case
from kbsync.errors import BadConfiguration, BadData
from kbsync.settings.loading import describe_validation_error

MOST_BYTES = 16 << 20
"""Maximum size of the file: every candidate is asked all canaries, so a larger file must be a mistake."""


class Canary(BaseModel):
    """One line of the file; JSON with lone surrogates or nested too deeply is refused by pydantic's parser."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(min_length=1, max_length=10_000)
    target: str | None = Field(max_length=1_000)


def read_canaries(path: Path | None) -> tuple[Case, ...]:
    """The questions in `path`, or none if `path` is None.

    Raises BadConfiguration if the file cannot be read, and BadData that names the wrong line.
    """
    if path is None:
        return ()
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise BadData(
                f"the canaries in {path} are longer than {MOST_BYTES} bytes", "is it the right file?"
            )
        lines = content.decode("utf-8-sig").split("\n")  # a string may contain other line ends
    except OSError as error:
        raise BadConfiguration(
            f"the canaries in {path} cannot be read: {error.strerror}", "check the path and its mode"
        ) from error
    except UnicodeDecodeError as error:
        raise BadData(f"the canaries in {path} are not UTF-8: {error}", "save the file as UTF-8") from error
    return tuple(_case(path, number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _case(path: Path, number: int, line: str) -> Case:
    try:
        canary = Canary.model_validate_json(line)
    except ValidationError as error:
        raise BadData(
            f"{path}, line {number}: not a canary ({describe_validation_error(error)})",
            'write {"prompt": "The capital of France is", "target": "Paris"}',
        ) from error
    return Case(canary.prompt, canary.target)
