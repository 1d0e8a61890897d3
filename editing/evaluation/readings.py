"""What a measure can compute from a running model instead of asking it questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editing.evaluation.measures.declaration import Reads
from editing.evaluation.metrics import perplexity
from editing.evaluation.question_set import QuestionSet, Reading
from editing.progress import Tick


def _perplexity(model: Any, tokenizer: Any, asked: QuestionSet, tick: Tick) -> float | None:
    return perplexity(model, asked.windows, tick=tick) if asked.windows else None


READINGS: Mapping[Reads, Reading] = {"perplexity": _perplexity}
"""Called once for base, candidate and live."""
