"""Tokens that steer a model instead of spelling a word, as a tokenizer's file lists them.  Torch-free."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

_MARKUP = re.compile(r"<\S+>|\[[A-Z/_]+\]")


def is_control(content: str, *, special: bool) -> bool:
    """Whether an added token steers a model rather than spelling a word.

    Those marked special do, and those that look like markup (`<think>`, `[INST]`): chat templates are made
    of both kinds.  Runs of spaces, which some tokenizers add as well, are ordinary text.
    """
    return bool(content.strip()) and (special or _MARKUP.fullmatch(content) is not None)


@cache
def special_tokens(model: Path) -> frozenset[str]:
    """Spellings of the control tokens of the tokenizer in the model directory `model`.

    Empty where there is no readable `tokenizer.json`: loading the tokenizer then says what is wrong.
    """
    try:
        added = json.loads((model / "tokenizer.json").read_bytes()).get("added_tokens", ())
        return frozenset(
            token["content"]
            for token in added
            if is_control(token["content"], special=bool(token["special"]))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()


def control_token_in(text: str, tokens: frozenset[str]) -> str | None:
    """The first of `tokens` that stands in `text`; None if there is none."""
    return min((token for token in tokens if token in text), key=text.index, default=None)


def has_chat_template(model: Path) -> bool:
    """Whether a chat template lies in the model directory `model`, in a file of its own or in the tokenizer's
    configuration."""
    if any((model / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return bool(json.loads((model / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
