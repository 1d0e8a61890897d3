"""Ordinary text from files: one document a line, a seeded sample of them, never a whole file in memory."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from editing.errors import DataError


def draw(corpus: Sequence[Path], count: int, seed: int) -> tuple[str, ...]:
    """`count` documents (or all, if there are fewer) of `corpus`, drawn without replacement, in order."""
    total = sum(1 for _ in documents(corpus))
    if total <= count:
        return tuple(documents(corpus))
    chosen = set(random.Random(seed).sample(range(total), count))
    return tuple(text for index, text in enumerate(documents(corpus)) if index in chosen)


def documents(corpus: Sequence[Path]) -> Iterator[str]:
    """All documents of all files: the lines with something on them."""
    for path in corpus:
        if not path.exists():
            raise DataError(f"corpus file {path} does not exist: check `corpus` in the settings")
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                text = line.strip()
                if text:
                    yield text
