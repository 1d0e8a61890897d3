"""What each measure asks of each fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editing.errors import RequestError
from editing.evaluation.measures.declaration import FactMeasure, populations
from editing.evaluation.sampling import drawn
from editing.model.loading import readable
from editing.model.tokens import Passage, continued, try_locate
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec

FLUENCY_TEXTS = 32
"""Number of generated texts, if there are enough facts, so that GE is a meaningful average."""

Known = Mapping[str, BaseAnswer]
"""By fact id."""

AskedOfFacts = list[tuple[FactSpec, FactMeasure, tuple[Case, ...]]]
"""What each measure asks of each fact."""


def asked_of(
    facts: Sequence[FactSpec], spec: BuildSpec, known: Known, measures: Sequence[FactMeasure]
) -> AskedOfFacts:
    """What `measures` ask about `facts`, of which each may be about a sample only."""
    drawn_for = {m.name: _drawn_for(m, spec, known) for m in measures if _limit(m, spec) is not None}
    return [
        (fact, measure, tuple(measure.asks(fact)))
        for fact in facts
        for measure in measures
        if measure.of in populations(fact, known=known[fact.id].known)
        and (measure.name not in drawn_for or fact.id in drawn_for[measure.name])
    ]


def _limit(measure: FactMeasure, spec: BuildSpec) -> int | None:
    """Maximum number of facts that the measure asks about; None: all."""
    if measure.answered == "free":
        return spec.generate
    return min(spec.generate, FLUENCY_TEXTS) if measure.answered == "sampled" else measure.most


def _drawn_for(measure: FactMeasure, spec: BuildSpec, known: Known) -> set[str]:
    """Ids of the facts that the measure asks about, if not all."""
    facts = [fact for fact in spec.facts if measure.of in populations(fact, known[fact.id].known)]
    return {fact.id for fact in drawn(facts, _limit(measure, spec) or 0, spec.settings.seed)}


def usable(model: Any, tokenizer: Any, asked: AskedOfFacts) -> AskedOfFacts:
    """`asked` without the cases that cannot be tokenised or are longer than the model can read."""
    pairs = list(dict.fromkeys((case.prompt, case.target or "") for *_, cases in asked for case in cases))
    passages = [
        Passage(continued(prompt, target), len(prompt), len(prompt) if target else None)
        for prompt, target in pairs
    ]
    found = try_locate(tokenizer, passages, limit=readable(model))
    bad = {pair for pair, row in zip(pairs, found, strict=True) if isinstance(row, RequestError)}
    return [
        (fact, measure, tuple(case for case in cases if (case.prompt, case.target or "") not in bad))
        for fact, measure, cases in asked
    ]
