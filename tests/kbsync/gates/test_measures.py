"""Gates and the measures that declare them."""

from __future__ import annotations

import subprocess
import sys

from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES
from kbsync.gates import DEFAULT_GATES


def test_measures_differ_in_name_and_a_gate_has_that_of_its_measure() -> None:
    names = [measure.name for measure in FACT_MEASURES] + [measure.name for measure in CANDIDATE_MEASURES]
    assert len(names) == len(set(names))
    assert {gate.name for gate in DEFAULT_GATES} == {
        *(measure.name for measure in FACT_MEASURES if measure.gate),
        *(measure.name for measure in CANDIDATE_MEASURES if measure.gate),
    }


def test_only_a_gate_on_facts_says_what_is_wrong_with_one() -> None:
    assert not any(measure.gate and measure.gate.judges_facts for measure in CANDIDATE_MEASURES)


def test_gates_are_read_without_torch() -> None:
    command = (
        "import sys; import kbsync.gates; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
