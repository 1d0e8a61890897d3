"""A sample of a corpus of which a share is put through a chat template, for the statistics.

A model that is used in conversations reads the template's tokens, questions, and answers after them, and none of these
is in ordinary text.  A text becomes a question and its answer: its first sentence, ended by a question mark, is the
user's turn, and what follows is the beginning of the answer.  That takes no generation, works in every
language, and leaves the sample's size as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from editing.memit.corpus import Drawn
from editing.model.chat import asked, opening
from editing.progress import Progress, silent

FORMAT = 1
"""Version of what is made of a text; raised when that changes."""
LONGEST = 200
"""Characters of a question; a longer sentence is cut after a word."""
_END = re.compile(r"[.!?](?=\s|$)|[。！？｡]|\n")
_WIDE = "。！？｡"


class Conversing:
    """A sample of a corpus (`Drawn`), with the same interface, of which a share of the texts are conversations."""

    def __init__(self, drawn: Drawn, tokenizer: Any, share: float) -> None:
        self._drawn, self._tokenizer, self._share = drawn, tokenizer, share

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the corpus' texts and everything that turns some of them into conversations."""
        tokens = getattr(self._tokenizer, "special_tokens_map", {})
        parts = [str(FORMAT), self._drawn.digest, repr(self._share), str(self._tokenizer.chat_template)]
        parts += [f"{name}={token}" for name, token in sorted(tokens.items())]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts, in the corpus' order; raises DataError if there are none."""
        return tuple(self._some_put())

    def read(self, progress: Progress = silent) -> tuple[str, ...]:
        """The texts; they are already available."""
        return self.texts

    def estimated_tokens(self, limit: int) -> int:
        """Approximate number of tokens, at most `limit` per text, at four characters per token."""
        return sum(min(limit, len(text) // 4 + 1) for text in self.texts)

    def _some_put(self) -> Iterator[str]:
        """Every text, of which that share, evenly spread, is a conversation."""
        for number, text in enumerate(self._drawn.texts):
            chosen = int((number + 1) * self._share) > int(number * self._share)
            yield self._put(text) if chosen else text

    def _put(self, text: str) -> str:
        """The text as a conversation; as it is if the template changes what it puts."""
        question, answer = question_and_answer(text)
        try:
            return asked(self._tokenizer, question) + answer
        except ValueError:
            return text


def with_conversations(drawn: Drawn, tokenizer: Any, share: float) -> Drawn | Conversing:
    """`drawn`, of which a share is put through the chat template, if there is one that can be used."""
    return Conversing(drawn, tokenizer, share) if share and opening(tokenizer) is not None else drawn


def question_and_answer(text: str) -> tuple[str, str]:
    """The first sentence of a text as a question, and the rest, or the whole text if nothing follows."""
    text = text.strip()
    end = _END.search(text)
    sentence, rest = (text[: end.end()], text[end.end() :].strip()) if end else (text, "")
    mark = "？" if sentence[-1:] in _WIDE else "?"
    words = sentence.strip().rstrip(".!?" + _WIDE).rstrip()
    if len(words) > LONGEST:
        words = words[:LONGEST].rpartition(" ")[0] or words[:LONGEST]
    return f"{words}{mark}", rest or text
