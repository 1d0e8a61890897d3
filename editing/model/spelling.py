"""Checking that subject and target are spelled with ordinary tokens: no control tokens, no unknown ones.

Labels are untrusted.  `<|im_start|>` in a label would become the token that begins a turn of a chat, in text that
the model is edited to produce.  Words missing from the vocabulary all become one token, which can neither be
answered nor distinguished.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers.models import Unigram

from editing.errors import RequestError
from editing.special_tokens import is_control

Tokens = Sequence[tuple[int, tuple[int, int]]]
"""(id, (first character, index after the last one)) of each token of a text."""


class Spelling:
    """The meaning of one tokenizer's ids, as far as labels are concerned."""

    def __init__(self, tokenizer: Any) -> None:
        self.control: dict[int, str] = {
            id: token.content
            for id, token in tokenizer.added_tokens_decoder.items()
            if is_control(token.content, special=bool(token.special))
        }
        self.unknown = _unknown_token(tokenizer)

    def check_subject(self, text: str, tokens: Tokens, span: tuple[int, int]) -> None:
        """Raises RequestError for a control token, or if no token of the subject is known."""
        lost = self._lost("subject", text, tokens, span)
        if lost and all(lost):
            raise RequestError(
                f"the tokenizer knows no part of the subject {shortened(text[slice(*span)])}: to the model it is "
                "like every other unknown word; choose another label",
                "untokenised",
            )

    def check_target(self, text: str, tokens: Tokens, span: tuple[int, int]) -> None:
        """Raises RequestError for a control token, or for a character that the model has no token for."""
        if any(self._lost("target", text, tokens, span)):
            raise RequestError(
                f"the target {shortened(text[slice(*span)].strip())} has a character that the tokenizer does not "
                "know: the model cannot say it; choose another spelling",
                "unsayable",
            )

    def _lost(self, name: str, text: str, tokens: Tokens, span: tuple[int, int]) -> list[bool]:
        """For each token of the span, whether it stands for something unknown."""
        begin, end = span
        lost = []
        for id, (left, right) in tokens:
            if left >= end or right <= begin or left == right:
                continue
            literal = id in self.control and self.control[id] in text[left:right]
            if literal or (id in self.control and id != self.unknown):
                raise RequestError(
                    f"the {name} {shortened(text[begin:end].strip())} contains {self.control[id]!r}, a control "
                    "token of the tokenizer: correct the label",
                    "label_special",
                )
            lost.append(id == self.unknown)
        return lost


def _unknown_token(tokenizer: Any) -> int | None:
    """Id of the token that stands for anything outside the vocabulary; None if there is no such token."""
    if tokenizer.unk_token_id is not None:
        return int(tokenizer.unk_token_id)
    backend = tokenizer.backend_tokenizer
    if isinstance(backend.model, Unigram):  # which alone does not say so in Python
        id = json.loads(backend.to_str())["model"]["unk_id"]
    else:
        name = getattr(backend.model, "unk_token", None)
        id = backend.token_to_id(name) if name else None
    return None if id is None else int(id)


def shortened(text: str, most: int = 60) -> str:
    """A text quoted for a message, truncated to `most` characters."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")
