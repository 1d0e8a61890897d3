"""The gates that measures declare."""

from __future__ import annotations

from editing.evaluation.measures.gate import Gate
from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES

_DECLARED = (*(measure.gate for measure in FACT_MEASURES), *(measure.gate for measure in CANDIDATE_MEASURES))

DEFAULT_GATES: tuple[Gate, ...] = tuple(gate for gate in _DECLARED if gate is not None)
"""As they are without settings; a measure without a gate is only reported."""
