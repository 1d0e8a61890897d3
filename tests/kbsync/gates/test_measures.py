"""Gates and the measures that they stand on."""

from __future__ import annotations

from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES
from kbsync.gates import DEFAULT_GATES


def test_every_gate_stands_on_a_measure_of_its_name() -> None:
    about_facts = {measure.name for measure in FACT_MEASURES}
    assert {gate.name for gate in DEFAULT_GATES} <= about_facts | {m.name for m in CANDIDATE_MEASURES}
    assert {gate.name for gate in DEFAULT_GATES if gate.judges_facts} <= about_facts
