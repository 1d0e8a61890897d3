"""What was asked of a candidate before it was written counts only for the tensors it was asked with."""

from __future__ import annotations

import pytest
import torch

from editing.evaluation.responses import Responses
from editing.worker.candidates import Written

EDITED = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def test_answers_are_reused_for_the_same_tensors() -> None:
    written = Written("digest", EDITED, Responses())
    assert written.answers({name: one.clone() for name, one in EDITED.items()}) is written.responses


@pytest.mark.parametrize(
    "read",
    [
        {"a": EDITED["a"]},
        EDITED | {"c": torch.zeros(1)},
        EDITED | {"a": EDITED["a"].double()},
        EDITED | {"a": torch.nextafter(EDITED["a"], torch.tensor(9.0))},
    ],
)
def test_answers_are_asked_again_if_what_was_read_back_differs(read: dict[str, torch.Tensor]) -> None:
    assert Written("digest", EDITED, Responses()).answers(read) is None
