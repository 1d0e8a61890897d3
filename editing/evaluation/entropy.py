"""How varied a text is: the entropy of its n-grams.  Torch-free."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from editing.evaluation.words import words


def ngram_entropy(text: str) -> float:
    """GE by the paper's formula: ⅔·H₂ + 4⁄3·H₃, in bits (Zhang et al. 2018)."""
    divided = words(text)
    return 2 / 3 * _entropy(divided, 2) + 4 / 3 * _entropy(divided, 3)


def ngram_entropy_released(text: str) -> float:
    """GE as computed by the released code: the *mean* of the weighted terms, half the paper's formula.

    The published 619.9 is 100 times this.  (The released code splits words with NLTK; here they are split at
    white space, and at Unicode's word boundaries in scripts written without it.)
    """
    return ngram_entropy(text) / 2


def _entropy(words: Sequence[str], n: int) -> float:
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values())
