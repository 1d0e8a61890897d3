"""Questions across tables: where a fact came from, and what must be kept on disk."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from state.checkpoints import CheckpointQueries
from state.fact_queries import FactQueries
from state.observations import ObservationQueries
from state.records import Built, Provenance, Roots, RoundOutcome
from state.runs import ROUNDS, RunQueries
from state.views import VIEW_FACTS, VIEWS, ViewQueries


class ProvenanceQueries(FactQueries, ObservationQueries, ViewQueries, RunQueries, CheckpointQueries):
    def provenance(self, fact_id: int) -> Provenance:
        """What the fact's source stated, every run that had it, and its events. Raises NotFound."""
        fact = self.fact(fact_id)
        said = self.histories([(fact.subject, fact.relation)]).get((fact.subject, fact.relation), ())
        return Provenance(
            fact,
            tuple(item for item in said if item.source == fact.source),
            tuple(built for run in self._runs_with(fact_id) for built in self._built(run, fact_id)),
            tuple(self.events(fact=fact_id)),
        )

    def roots(self) -> Roots:
        """What garbage collection must keep; checkpoints already collected are not among them."""
        live, previous, open_runs = self.live(), self.previous(), self.open_runs()
        candidates = {run.checkpoint for run in open_runs} - {None}
        open_ids = {run.id for run in open_runs}
        kept = {item.id: item for item in (live, previous) if item is not None}
        for item in self.checkpoints():
            in_use = (
                item.pinned or item.id in candidates or (item.status == "candidate" and item.run in open_ids)
            )
            if in_use and item.collected is None:
                kept[item.id] = item
        erased = self.views_with_erased()
        kept = {id: item for id, item in kept.items() if item.view not in erased or item.status == "live"}
        bases = {item.base for item in kept.values()} | {run.base for run in open_runs}
        return Roots(
            live,
            previous,
            tuple(kept[id] for id in sorted(kept)),
            tuple(sorted(open_ids)),
            tuple(sorted(bases)),
        )

    def _runs_with(self, fact_id: int) -> list[int]:
        views = select(VIEWS.c.digest).join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id)
        rounds = (
            select(ROUNDS.c.run)
            .where(ROUNDS.c.view.in_(views.where(VIEW_FACTS.c.fact == fact_id)))
            .distinct()
        )
        return [row.run for row in self._rows(rounds.order_by(ROUNDS.c.run))]

    def _built(self, id: int, fact_id: int) -> Iterator[Built]:
        """The run's rounds that had the fact, in order."""
        run = self.run(id)
        base = self.base_answers(run.base, [fact_id]).get(fact_id)
        known, answer = (base.known, base.answer) if base else (None, None)
        rounds = self.rounds(id)
        holds = {one.round: self._holds(one.view, fact_id) for one in rounds}
        gates = self.gate_results(id)
        for number in (one.round for one in rounds if holds[one.round]):
            last = number == run.round
            checkpoint = self.checkpoint(run.checkpoint) if last and run.checkpoint is not None else None
            outcome: RoundOutcome = "last" if last else "kept" if holds.get(number + 1) else "left_out"
            own = tuple(result for result in gates if result.round == number)
            yield Built(run, number, outcome, checkpoint, own, known, answer)

    def _holds(self, view: str, fact_id: int) -> bool:
        held = VIEWS.join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id)
        named = (VIEWS.c.digest == view) & (VIEW_FACTS.c.fact == fact_id)
        return self._row(select(VIEW_FACTS.c.fact).select_from(held).where(named)) is not None
