"""Retrieval instead of editing: the fact is found by BM25 and put before the question.

Not an editor, since no weight changes: a way of answering that edited models are compared with.  It needs the extra
`bench`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from editing.errors import SpecError
from editing.model.tokens import continued, in_context
from editing.requests import EditRequest

TOKEN = r"(?u)\b\w+\b"
"""What BM25 counts as a word: also one of a single letter or digit."""


class Retrieval:
    """An index of facts, each stated as its prompt followed by its target."""

    def __init__(self, facts: Sequence[EditRequest], *, most: int = 1) -> None:
        """`most` facts at most are put before a question.

        Raises SpecError if the extra `bench` is not installed.
        """
        try:
            import bm25s
        except ModuleNotFoundError as error:
            raise SpecError("retrieval needs bm25s: pip install 'kbsync[bench]'") from error
        logging.getLogger("bm25s").setLevel(logging.INFO)  # its debug messages report every index
        self._bm25s = bm25s
        self.statements = list(dict.fromkeys(continued(fact.rendered, fact.target) for fact in facts))
        self.most = min(most, len(self.statements))
        self._index: Any = None
        if self.statements:
            self._index = bm25s.BM25()
            self._index.index(self._words(self.statements), show_progress=False)

    def retrieve(self, question: str) -> list[str]:
        """The statements that fit `question` best, best first; none that shares no word with it."""
        if self._index is None:
            return []
        words = self._words([question])
        if not words.vocab:
            return []
        found, scores = self._index.retrieve(words, k=self.most, show_progress=False)
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return [self.statements[index] for index, fit in pairs if fit > 0]

    def with_context(self, question: str) -> str:
        """`question` after the statements retrieved for it, the best one last; unchanged if there are none."""
        statements = self.retrieve(question)
        return in_context(". ".join(reversed(statements)), question) if statements else question

    def _words(self, texts: list[str]) -> Any:
        return self._bm25s.tokenize(texts, stopwords=None, token_pattern=TOKEN, show_progress=False)
