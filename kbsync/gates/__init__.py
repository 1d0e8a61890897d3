"""Gates decide whether a candidate may go live: pure functions of its measures.

A candidate goes live only if no gate fails.  A gate fails if its measure is missing or not a finite
number; a gate to which no case applies is not judged, and fails only if it is required.  A measure
over *all* cases is compared directly, a measure over a sample by its confidence bound.  If live's own
figure on the same cases is known, a gate may also require that the candidate is not worse than live by
more than a margin (non-inferiority).

A gate is declared with its measure, in `editing.evaluation.measures`; what is decided from it is here.
"""

from editing.evaluation.measures.gate import Direction, Gate
from kbsync.gates.blame import Blame, blame, systematic
from kbsync.gates.bounds import clustered_bound, paired_bound, sample_bound, wilson_bound
from kbsync.gates.declared import DEFAULT_GATES
from kbsync.gates.verdict import GateStanding, GateVerdict, is_judged, standing
from kbsync.gates.verdicts import RULE, judge, judge_all

__all__ = [
    "DEFAULT_GATES",
    "RULE",
    "Blame",
    "Direction",
    "Gate",
    "GateStanding",
    "GateVerdict",
    "blame",
    "clustered_bound",
    "is_judged",
    "judge",
    "judge_all",
    "paired_bound",
    "sample_bound",
    "standing",
    "systematic",
    "wilson_bound",
]
