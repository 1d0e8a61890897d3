"""The exam that `benchmarks/gates.py` puts candidates through: a home whose daemon has just built a candidate.

Everything in it is kbsync's own: the demo's knowledge base is read over SPARQL, the facts of 2021 to 2023 are edited
and promoted, and those of 2024 are planned, built and judged.  The spec of that last run, with its questions and its
live checkpoint, is what every further candidate is judged by, by the worker's own rounds and by the default gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.progress import silent
from editing.requests import render
from editing.spec import BuildReport, BuildSpec, FactSpec
from editing.storage.checkpoints import read_changed, read_editable, verify, write_checkpoint
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from kbsync.demo.server import SparqlServer, serving
from kbsync.demo.setting import StoryClock, prepare, write_settings
from kbsync.demo.story import DAY_ONE, HALFWAY, VANDALISED
from kbsync.demo.telling import Telling
from kbsync.demo.world import Wikibase, load
from kbsync.gates import DEFAULT_GATES, Gate, GateVerdict, judge_all
from kbsync.home import Home, RunDirectory
from kbsync.service.reading import pull
from state.records import Run

WRITER = "writer"
"""The check of `write_checkpoint`: it refuses tensors that are not finite in the dtype of the base."""
INTEGRITY = "integrity"
"""The check of the manifest: every file of a checkpoint has the SHA-256 that was noted when it was written."""

HomeName = Literal["world", "chat"]
"""A home whose run is judged: that of the demo's world, or that of a small chat model (`gates_chat.py`)."""
KNOWN = 500
"""Facts in the exam's view that the base knows, so that a candidate is judged in seconds."""

Tensors = Mapping[str, Tensor]
"""By parameter name, the tensors of a candidate that differ from the base's."""


class News(Telling):
    """The first act of the demo in two runs: what changed up to 2023 is promoted, what changed in 2024 is new."""

    trigger = "benchmarks/gates.py"

    def __init__(self, home: Home, server: SparqlServer) -> None:
        self.server, self.world = server, load()
        self.wikibase = Wikibase(self.world)
        config = write_settings(home, self.world, server.query_url)
        super().__init__(home, config, StoryClock(DAY_ONE), silent, quiet=True)

    def tell(self) -> Run:
        """The last run."""
        with self.app, self.leading() as leadership:
            self.server.load(self.wikibase.ntriples())
            self.sync_until_live(leadership, bootstrap=True)
            moves = list(self.world.moves)
            for since, until in ((DAY_ONE, HALFWAY), (HALFWAY, VANDALISED)):
                self.server.update(
                    self.wikibase.apply_all(
                        [m for m in moves if (m.at <= until) and (since < m.at or since == DAY_ONE)]
                    )
                )
                pull(self.app)
                self.clock.turn_to(until)
                self.sync_until_live(leadership)
            with self.app.state.read() as tx:
                return tx.runs(limit=1)[0]

    def line(self, text: str) -> None:
        """Print nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one candidate."""

    caught_by: tuple[str, ...]
    """The gates that failed, in their order, or the check that refused the candidate before."""
    verdicts: tuple[GateVerdict, ...] = ()


class Exam:
    """The questions of one run, and kbsync's gates; the base stays loaded, and answers are kept."""

    def __init__(self, run: RunDirectory, scratch: Path, gates: Iterable[Gate] = DEFAULT_GATES) -> None:
        self.spec = smaller(replace(BuildSpec.read(run.spec), threads=1))
        self.report = run.report
        self.gates, self.scratch = tuple(gates), scratch
        self.workshop = Workshop(Channel(StringIO()))
        self._count = 0

    @property
    def model(self) -> Any:
        return self._kept.model

    @property
    def tokenizer(self) -> Any:
        return self._kept.tokenizer

    @property
    def _kept(self) -> Any:
        return self.workshop.load(Path(self.spec.base), self.spec.base_digest, self.spec.device).loaded

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """All editable tensors of the base."""
        return read_editable(Path(self.spec.base))

    @cached_property
    def candidate(self) -> dict[str, Tensor]:
        """The changed tensors of the candidate that the run built: the honest one."""
        return read_changed(Path(self.spec.base), Path(self.spec.out))

    @cached_property
    def live(self) -> dict[str, Tensor]:
        """The changed tensors of the checkpoint that is live."""
        assert self.spec.live is not None
        return read_changed(Path(self.spec.base), Path(self.spec.live))

    @cached_property
    def new(self) -> tuple[FactSpec, ...]:
        """The facts that the run adds."""
        return tuple(fact for fact in self.spec.facts if not fact.known and not fact.in_live)

    @cached_property
    def old(self) -> tuple[FactSpec, ...]:
        """The edited facts that live has already."""
        return tuple(fact for fact in self.spec.facts if not fact.known and fact.in_live)

    @cached_property
    def known(self) -> tuple[FactSpec, ...]:
        """The facts that the base states unedited."""
        return tuple(fact for fact in self.spec.facts if fact.known)

    def edited(self, facts: Iterable[FactSpec], **changes: Any) -> dict[str, Tensor]:
        """The tensors that the worker builds for `facts`, whatever they state."""
        spec = replace(
            self.spec, facts=tuple(facts), live=None, heldout=None, generate=0, canaries=(), **changes
        )
        return self.tensors_of(self._round(spec, self.directory()))

    def judge(self, tensors: Tensors) -> Outcome:
        """Write a checkpoint with these tensors and judge it as the run's candidate."""
        out = self.directory()
        try:
            write_checkpoint(Path(self.spec.base), out, tensors, self.spec.forms)
        except CheckpointError:
            return Outcome((WRITER,))
        return self.judge_directory(out)

    def judge_directory(self, out: Path, spec: BuildSpec | None = None) -> Outcome:
        """Judge the checkpoint in `out` as a candidate for `spec`, by default the run's."""
        try:
            verify(out)
        except DamagedCheckpoint:
            return Outcome((INTEGRITY,))
        return self._outcome(self._round(replace(spec or self.spec, mode="judge"), out))

    def build(self, facts: Sequence[FactSpec], **changes: Any) -> Outcome:
        """Build and judge a candidate of `facts` in one round, as a run does."""
        return self._outcome(self.built(facts, **changes))

    def built(self, facts: Sequence[FactSpec], **changes: Any) -> BuildReport:
        """What such a round reports."""
        spec = replace(self.spec, facts=tuple(facts), **changes)
        return self._round(spec, self.directory())

    def tensors_of(self, report: BuildReport) -> dict[str, Tensor]:
        """The changed tensors of the checkpoint that a round has built."""
        return read_changed(Path(self.spec.base), Path(report.checkpoint))

    def _outcome(self, report: BuildReport) -> Outcome:
        verdicts = judge_all(self.gates, report.measures)
        return Outcome(tuple(v.name for v in verdicts if not v.passed), verdicts)

    def directory(self) -> Path:
        """A new path for a checkpoint."""
        self._count += 1
        return self.scratch / "checkpoints" / str(self._count)

    def _round(self, spec: BuildSpec, out: Path) -> BuildReport:
        directory = self.scratch / "runs" / out.name / spec.mode
        directory.mkdir(parents=True)
        replace(spec, out=str(out), run=out.name).write(directory / "spec.json")
        return BuildReport.read(self.workshop.round(directory / "spec.json"))


def smaller(spec: BuildSpec) -> BuildSpec:
    """`spec` with `KNOWN` of the facts that the base knows, first those that edited facts have to leave alone."""
    edited = [fact for fact in spec.facts if not fact.known]
    near = {case.prompt for fact in edited for case in (*fact.neighbours, *fact.same_subject)}
    known = [fact for fact in spec.facts if fact.known]
    order = sorted(known, key=lambda fact: render(fact.prompt, fact.subject) not in near)
    kept = {fact.id for fact in order[:KNOWN]}
    return replace(spec, facts=tuple(fact for fact in spec.facts if not fact.known or fact.id in kept))


def play(root: Path) -> RunDirectory:
    """Play the news in a home below `root`; returns the directory of the last run's last round."""
    home = Home(root / "home")
    prepare(home)
    with serving() as server:
        run = News(home, server).tell()
    return home.round(run.id, run.round)
