"""Control tokens, as opposed to tokens that spell words, as listed in a tokenizer's file.  Torch-free."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from editing.folding import fold

_BRACKETS = frozenset("<>[]")
_MARKUP = re.compile(r"<\S+>|\[[A-Z/_]+\]")


def is_control(content: str, *, special: bool) -> bool:
    """Whether an added token is a control token rather than part of a word.

    Those marked special are, and so are those that look like markup (`<think>`, `[INST]`), since chat templates
    use both.  Runs of spaces, which some tokenizers also add, are ordinary text.
    """
    return bool(content.strip()) and (special or _MARKUP.fullmatch(content) is not None)


@cache
def special_tokens(model: Path) -> frozenset[str]:
    """Spellings of the control tokens of the tokenizer in the model directory `model`.

    Empty if there is no readable `tokenizer.json`; loading the tokenizer then reports what is wrong.
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
    """The first of `tokens` that occurs in `text`; None if there is none.

    Markup also occurs in another spelling, with full-width brackets for example: a tokenizer that normalises
    text makes the token of it.
    """
    exact = min((token for token in tokens if token in text), key=text.index, default=None)
    if exact is not None:
        return exact
    folded = fold(text)
    if not _BRACKETS & set(folded):
        return None
    return min((token for token in tokens if _BRACKETS & set(token) and fold(token) in folded), default=None)


def has_chat_template(model: Path) -> bool:
    """Whether the model directory `model` has a chat template, in a separate file or in the tokenizer's
    configuration."""
    if any((model / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return bool(json.loads((model / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
