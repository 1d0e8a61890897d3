"""Which facts in live are asked everything again: each once in a number of runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from editing.spec import FactSpec


def with_examined(facts: Sequence[FactSpec], run: int, every: int) -> tuple[FactSpec, ...]:
    """`facts`, those in live marked that are examined in this run; none if `every` is 0.

    Facts are divided into `every` parts by a digest of their id, and consecutive runs examine consecutive parts, so
    that any `every` consecutive runs examine every fact that is in live throughout, whatever else comes and goes.
    """
    return tuple(
        replace(fact, examined=bool(every) and fact.in_live and _part(fact.id, every) == run % every)
        for fact in facts
    )


def _part(id: str, every: int) -> int:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) % every
