"""What a worker asks its models, and what it knows already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from editing.evaluation import responses
from editing.spec import FactSpec
from tests.support.rounds import Rounds

KNOWN = (
    FactSpec("italy", "The capital of {} is", "Italy", "Rome", known=True, base_answer="Rome"),
    FactSpec("japan", "The currency of {} is the", "Japan", "yen", known=True, base_answer="yen"),
)
NEWS = FactSpec("norway", "The capital of {} is", "Norway", "Paris")


def test_a_checkpoint_that_changes_nothing_answers_as_the_base_and_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: Counter[str] = Counter()
    sample = responses.generate

    def counting(model: Any, tokenizer: Any, prompts: Sequence[str], **how: Any) -> Any:
        sampled.update(prompts)
        return sample(model, tokenizer, prompts, **how)

    monkeypatch.setattr(responses, "generate", counting)
    rounds = Rounds(tmp_path)
    first = rounds.run(*KNOWN)
    assert set(sampled.values()) == {1}
    figures = {measure.name: measure for measure in first.measures}
    assert figures["fluency"].value == 1
    second = rounds.run(*KNOWN, NEWS, live=first.checkpoint)
    changed = {prompt: count for prompt, count in sampled.items() if count > 1}
    assert set(changed.values()) <= {2}  # the base, which is also live, and the edited candidate
    assert changed
    assert all(fact.live_answer for fact in second.facts)
