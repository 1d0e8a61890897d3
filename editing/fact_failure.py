"""Why a fact of a view cannot be built.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FailureCode = Literal[
    "malformed",
    "label_special",
    "untokenised",
    "unsayable",
    "too_long",
    "conflict",
    "not_finite",
    "out_of_memory",
]
"""Why a fact cannot be built:

    malformed      its template has no place for the subject, or subject or target is empty
    label_special  subject or target contains a control token of the tokenizer (`<|im_start|>`)
    untokenised    the tokenizer drops the subject, refuses the text, or knows no part of the subject
    unsayable      the tokenizer has no token for the target, or none for one of its characters
    too_long       prompt and target have more tokens than the model can read
    conflict       another fact of the build gives the same prompt another answer
    not_finite     its optimisation or its keys are not finite numbers
    out_of_memory  it does not fit in memory even alone, though others do
"""


@dataclass(frozen=True, slots=True)
class FactFailure:
    """A fact of the view that cannot be built; the others were built and judged without it."""

    id: str
    code: FailureCode
    reason: str
    """A sentence for display: what is wrong with it and what to do."""
    wording: str = ""
    """The rendered prompt of a further wording that was left out; empty if the fact itself failed."""
