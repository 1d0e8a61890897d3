"""An election day: hundreds of office holders change at once.

Who holds an office is a relation whose objects are persons; every known office gets another holder.
"""

from __future__ import annotations

from kbsync.errors import BadData
from kbsync.experiments.report import Findings
from kbsync.experiments.setup import Setup
from kbsync.experiments.stories import story

OFFICES = frozenset({"P6", "P35", "P39", "P169", "P488", "P1037", "P286", "P1308", "P1075"})
"""Properties of Wikidata whose objects hold an office of the subject: heads, chairs, directors, coaches."""
QUICK, FULL = 40, 1_000


def experiment(setup: Setup) -> Findings:
    """Raises BadData if no known fact says who holds an office."""
    offices = {relation for relation in setup.editable_relations() if relation.rpartition(":")[2] in OFFICES}
    if not offices:
        raise BadData(
            "no fact that the model knows says who holds an office",
            "name facts with Wikidata's properties (P6, P35, P169, …) as relations with --facts, or leave --model out",
        )
    cases = setup.cases(setup.seeds[0], QUICK if setup.quick else FULL, offices)
    return story(setup, "An election day", cases)
