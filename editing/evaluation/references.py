"""RS: how much generated text resembles reference texts about the new object (Meng et al. 2023, Appendix C).

The cosine of TF-IDF vectors, as in the released evaluation: words of two characters or more in lower case; raw counts;
idf(w) = ln((1 + N) / (1 + n_w)) + 1, where n_w of N reference texts contain the word w.  Torch-free.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_WORD = re.compile(r"\b\w\w+\b")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True)
class TfIdf:
    """The weight of each word that occurs in the reference texts; other words have none."""

    idf: Mapping[str, float]

    @classmethod
    def of(cls, texts: Iterable[str]) -> TfIdf:
        """The weights learnt from these texts."""
        documents = [set(_words(text)) for text in texts]
        containing = Counter(word for document in documents for word in document)
        total = len(documents)
        return cls({word: math.log((1 + total) / (1 + n)) + 1 for word, n in containing.items()})

    def vector(self, text: str) -> dict[str, float]:
        """Word → count times idf; not normalised."""
        counts = Counter(word for word in _words(text) if word in self.idf)
        return {word: count * self.idf[word] for word, count in counts.items()}

    def similarity(self, one: str, other: str) -> float:
        """The cosine of two texts' vectors, in [0, 1]; 0 if either has no known word."""
        a, b = self.vector(one), self.vector(other)
        norms = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        return sum(value * b.get(word, 0.0) for word, value in a.items()) / norms if norms else 0.0
