"""A worker that does as it is told, in this process: real checkpoint directories, invented measures.

It speaks the executor's own protocol (`execute(spec) -> report`), so that a hundred runs cost what one
real build does.  A fact whose object ends in `!` cannot be learnt: efficacy fails on it.  One whose object
ends in `?` cannot be built, and one that ends in `??` cannot even be asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from editing.cost import Cost
from editing.fact_failure import FactFailure
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec, FactReport, Measure
from editing.storage import checkpoints
from kbsync.announced import Announced, ModelToImport
from kbsync.executor import FailureKind, WorkerFailed

RETRIED: dict[FailureKind, bool] = {
    "killed": True,
    "hung": True,
    "out_of_memory": True,
    "internal": True,
    "wrong_version": False,
    "data": False,
}
"""Every way in which a worker fails, and whether another try may help."""


class Scripted:
    """`failures` are what befalls the next specs, in order; after them all goes well."""

    name = "scripted"

    def __init__(self, failures: Iterable[FailureKind] = ()) -> None:
        self.failures = list(failures)

    def prepare(self, base: Announced | None) -> None:
        """There is nothing to load."""

    def import_base(self, model: ModelToImport) -> str | None:
        """It imports none: the application does."""
        return None

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        if self.failures:
            kind = self.failures.pop(0)
            raise WorkerFailed(kind, f"it was to be {kind}", retry=RETRIED[kind])
        report = _answer(BuildSpec.read(spec))
        report.write(spec.with_name("report.json"))
        return report


class Watching(Scripted):
    """Looks at something whenever it is given work, and keeps what it sees."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__()
        self.look = look
        self.seen: list[object] = []

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        self.seen.append(self.look())
        return super().execute(spec, progress)


def _answer(spec: BuildSpec) -> BuildReport:
    cannot = "??" if spec.mode == "ask" else "?"
    failures = tuple(
        FactFailure(fact.id, "too_long" if cannot == "??" else "not_finite", f"{fact.target} is hopeless")
        for fact in spec.facts
        if fact.target.endswith(cannot)
    )
    bad = {failure.id for failure in failures}
    spec = replace(spec, facts=tuple(fact for fact in spec.facts if fact.id not in bad))
    facts = tuple(
        FactReport(fact.id, False, "nobody", fact.target, taken, outcomes={"efficacy": (taken,)})
        for fact in spec.facts
        for taken in [not fact.target.endswith("!")]
    )
    digest = ""
    if spec.mode == "build":
        digest = checkpoints.write_checkpoint(Path(spec.base), Path(spec.out), _tensors(spec))
    elif spec.mode == "judge":
        digest = checkpoints.verify(Path(spec.out))
    return BuildReport(
        run=spec.run,
        base_digest=spec.base_digest,
        checkpoint=spec.out if digest else "",
        checkpoint_digest=digest,
        facts=facts,
        measures=_measures(facts),
        cost=Cost(),
        versions={},
        failures=failures,
    )


def _tensors(spec: BuildSpec) -> dict[str, torch.Tensor]:
    """Other weights for every other set of facts."""
    content = "".join(f"{fact.prompt}{fact.subject}{fact.target}\n" for fact in spec.facts)
    by = int(hashlib.sha256(content.encode()).hexdigest()[:6], 16) / (1 << 24)
    name, tensor = next(iter(checkpoints.read_editable(Path(spec.base)).items()))
    return {name: tensor + by}


def _measures(facts: tuple[FactReport, ...]) -> tuple[Measure, ...]:
    hits = sum(fact.efficacy is True for fact in facts)
    about_live = ("retention", "edited_retention", "known_retention")
    free = ("said", "said_in_chat")
    robust = ("distractor", "is_true", "negation")
    nothing = ("paraphrase", "neighbourhood", "same_subject", *about_live, *free, *robust)
    return (
        Measure("efficacy", hits / len(facts) if facts else None, len(facts), hits),
        *(Measure(name, None, 0, 0) for name in (*nothing, "canaries", "refused")),
        Measure("fluency", 1.0, 1),
        Measure("perplexity_ratio", 1.0, 1),
        Measure("weight_growth", 1.0, 1),
    )
