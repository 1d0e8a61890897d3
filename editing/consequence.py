"""What follows from the facts of a view: two-hop, reversed and symmetric statements.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from editing.requests import render

ConsequenceKind = Literal["two_hop", "reversed", "symmetric"]
"""How it follows:

    two_hop    from a fact and another fact about its subject or its object
    reversed   from a fact, asked for its subject
    symmetric  from a fact of a symmetric relation, asked about its object
"""


@dataclass(frozen=True, slots=True)
class Consequence:
    """A statement that follows from facts of the view, and is in no source."""

    kind: ConsequenceKind
    prompt: str
    """Template with one `{}`."""
    subject: str
    target: str
    parents: tuple[str, ...]
    """Ids of all facts of the view that it follows from."""
    names: tuple[str, ...] = ()
    """Aliases of the target, which answer as well as it does."""

    @property
    def rendered(self) -> str:
        return render(self.prompt, self.subject)
