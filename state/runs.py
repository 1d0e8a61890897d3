"""Runs: one attempt each to build, judge and promote a view, as a state machine in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import func, select

from state.checkpoints import CHECKPOINTS
from state.errors import ForbiddenTransition, NotFound, StaleTransition
from state.hash_chain import canonical
from state.records import Attempt, AttemptOutcome, GateResult, Round, Run, RunState
from state.tables import Attempts, GateResults, Rounds, Runs, table
from state.transaction import NewEvent, Reader, Writer, columns_of
from state.views import VIEWS

RUNS, ROUNDS, ATTEMPTS, GATES = table(Runs), table(Rounds), table(Attempts), table(GateResults)
_RUN, _ROUND, _ATTEMPT = columns_of(RUNS, Run), columns_of(ROUNDS, Round), columns_of(ATTEMPTS, Attempt)
_GATE = columns_of(GATES, GateResult)

NEXT: Mapping[RunState, tuple[RunState, ...]] = {
    "planned": ("building", "built", "rejected", "failed"),  # built: a kept checkpoint is judged again
    "building": ("built", "rejected", "failed"),
    "built": ("judged", "building", "rejected", "failed"),  # building: the candidate was found damaged
    "judged": ("building", "awaiting_review", "staged", "rejected", "failed"),  # building: the next round
    "awaiting_review": ("staged", "rejected", "failed"),
    "staged": ("promoted", "rejected", "failed"),
    "promoted": ("deployed", "rolled_back", "failed"),
    "deployed": ("rolled_back",),
    "rejected": (),
    "failed": (),
    "rolled_back": (),
}
"""The state machine of a run: where it may go from each state."""

OPEN: tuple[RunState, ...] = tuple(
    state for state in get_args(RunState) if state not in ("deployed", "rejected", "failed", "rolled_back")
)
"""States of runs that have not ended; a restart continues them."""


class RunQueries(Reader):
    def run(self, id: int) -> Run:
        """Raises NotFound."""
        row = self._row(select(*_RUN).where(RUNS.c.id == id))
        if row is None:
            raise NotFound("run", id)
        return Run(*row)

    def runs(
        self, limit: int | None = None, state: RunState | None = None, before: int | None = None
    ) -> tuple[Run, ...]:
        """Newest first; `before`: only those with a smaller number, the next page."""
        statement = select(*_RUN).order_by(RUNS.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(RUNS.c.id < before)
        return tuple(
            Run(*row)
            for row in self._rows(statement if state is None else statement.where(RUNS.c.state == state))
        )

    def count_runs(self) -> dict[RunState, int]:
        return dict(self._rows(select(RUNS.c.state, func.count()).group_by(RUNS.c.state)))

    def open_runs(self) -> tuple[Run, ...]:
        """Runs that have not ended, oldest first."""
        return tuple(
            Run(*row) for row in self._rows(select(*_RUN).where(RUNS.c.state.in_(OPEN)).order_by(RUNS.c.id))
        )

    def rounds(self, run: int) -> tuple[Round, ...]:
        return tuple(
            Round(*row)
            for row in self._rows(select(*_ROUND).where(ROUNDS.c.run == run).order_by(ROUNDS.c.round))
        )

    def attempts(self, run: int) -> tuple[Attempt, ...]:
        return tuple(
            Attempt(*row)
            for row in self._rows(select(*_ATTEMPT).where(ATTEMPTS.c.run == run).order_by(ATTEMPTS.c.id))
        )

    def gate_results(self, run: int) -> tuple[GateResult, ...]:
        """Of all rounds, in order of round and name."""
        return tuple(
            GateResult(*row)
            for row in self._rows(
                select(*_GATE).where(GATES.c.run == run).order_by(GATES.c.round, GATES.c.name)
            )
        )

    def last_gate_results(self, runs: Sequence[int]) -> tuple[GateResult, ...]:
        """Of the last round of each of these runs, in order of run and name."""
        last = select(RUNS.c.round).where(RUNS.c.id == GATES.c.run).scalar_subquery()
        chosen = select(*_GATE).where(GATES.c.run.in_(runs), GATES.c.round == last)
        return tuple(GateResult(*row) for row in self._rows(chosen.order_by(GATES.c.run, GATES.c.name)))


class RunTransitions(RunQueries, Writer):
    def create_run(
        self, view: str, base: str, trigger: str, actor: str = "planner", *, above: int = 0
    ) -> Run:
        """A planned run of a stored view, in its first round. Raises NotFound for an unknown view.

        Its number is beyond `above`: files of runs with numbers up to that may lie about, from before an
        older ledger was restored.
        """
        self._know_view(view)
        id, now = max(self._next_id(RUNS), above + 1), self.clock()
        run = Run(id, "planned", view, base, trigger, 1, 0, None, "", now, now)
        self._insert(RUNS, [{column.name: getattr(run, column.name) for column in _RUN}])
        self._insert(ROUNDS, [{"run": id, "round": 1, "view": view, "started": now}])
        self._log(actor, [NewEvent("run.planned", {"view": view, "base": base, "trigger": trigger}, run=id)])
        return run

    def advance_run(
        self,
        id: int,
        from_: RunState,
        to: RunState,
        *,
        actor: str,
        reason: str = "",
        view: str | None = None,
        checkpoint: int | None = None,
    ) -> Run:
        """Moves a run along one edge of `NEXT`; from `judged` back to `building` it is the next round.

        A new round may have another `view` (the worst facts were quarantined). Raises
        ForbiddenTransition for an edge that is not there, StaleTransition where the run is not in
        `from_` any more, NotFound for the run, the view or the checkpoint.
        """
        changed: dict[str, Any] = {}
        shown: dict[str, Any] = {}
        if view is not None:
            self._know_view(view)
            changed["view"] = shown["view"] = view
        if checkpoint is not None:
            changed["checkpoint"] = shown["checkpoint"] = checkpoint
            shown["digest"] = self._checkpoint_digest(checkpoint)
        return self._advance(id, (from_, to), actor, reason, changed, shown)

    def await_review(self, id: int, until: datetime, *, actor: str) -> Run:
        """A judged run waits for a reviewer; at `until` the timeout policy decides.

        Raises NotFound and StaleTransition.
        """
        deadline = {"review_until": until}
        return self._advance(id, ("judged", "awaiting_review"), actor, "", deadline, deadline)

    def _advance(
        self,
        id: int,
        edge: tuple[RunState, RunState],
        actor: str,
        reason: str,
        changed: Mapping[str, Any],
        shown: Mapping[str, Any],
    ) -> Run:
        """One compare-and-set with its event: `changed` are further columns, `shown` further facts of the event."""
        from_, to = edge
        if to not in NEXT[from_]:
            raise ForbiddenTransition("run", id, from_, to, NEXT[from_])
        now = self.clock()
        values = {"state": to, "reason": reason, "updated": now, "review_until": None, **changed}
        if not self._update(RUNS, (RUNS.c.id == id) & (RUNS.c.state == from_), **values):
            raise StaleTransition("run", id, from_, self.run(id).state, to)
        body = {"from": from_, "to": to, "reason": reason, **shown}
        if to == "building" and from_ != "planned":
            body["round"] = self._next_round(id, now)
        self._log(actor, [NewEvent(f"run.{to}", body, run=id)])
        return self.run(id)

    def begin_attempt(self, run: int, worker: str, actor: str = "executor") -> Attempt:
        """A worker process starts on the run's current round. Raises NotFound."""
        current = self.run(run)
        attempt = Attempt(
            self._next_id(ATTEMPTS), run, current.round, worker, "running", "{}", self.clock(), None
        )
        self._insert(ATTEMPTS, [{column.name: getattr(attempt, column.name) for column in _ATTEMPT}])
        self._update(RUNS, RUNS.c.id == run, attempts=current.attempts + 1, updated=attempt.started)
        body = {"attempt": current.attempts + 1, "round": current.round, "worker": worker}
        self._log(actor, [NewEvent("attempt.started", body, run=run)])
        return attempt

    def end_attempt(
        self, id: int, outcome: AttemptOutcome, evidence: Mapping[str, Any], actor: str = "executor"
    ) -> Attempt:
        """What became of a worker process. Raises NotFound; StaleTransition if it had ended already."""
        row = self._row(select(*_ATTEMPT).where(ATTEMPTS.c.id == id))
        if row is None:
            raise NotFound("attempt", id)
        running = (ATTEMPTS.c.id == id) & (ATTEMPTS.c.outcome == "running")
        kept = canonical(evidence)
        if not self._update(ATTEMPTS, running, outcome=outcome, evidence=kept, ended=self.clock()):
            raise StaleTransition("attempt", id, "running", row.outcome, outcome)
        self._log(
            actor, [NewEvent(f"attempt.{outcome}", {"round": row.round, "evidence": evidence}, run=row.run)]
        )
        return next(attempt for attempt in self.attempts(row.run) if attempt.id == id)

    def put_gate_results(
        self,
        run: int,
        results: Sequence[GateResult],
        actor: str = "judge",
        *,
        basis: Mapping[str, Any] | None = None,
        declared: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Keeps the verdicts of a round and names, in the event, the candidate they are about.

        `basis` and, for each gate by name, `declared` are further entries of the event: what is needed to judge
        again (digests of report and settings; counts, direction, confidence).

        Judging a round again (after a crash) replaces its verdicts. A value that is not finite is
        stored as None and cannot have passed, nor can a gate of another round be written: ValueError.
        Raises StaleTransition unless the run is `built`: verdicts are not changed afterwards.
        """
        judged = self.run(run)
        if judged.state != "built":
            raise StaleTransition("run", run, "built", judged.state, "judged")
        for result in results:
            if result.passed and (result.value is None or not math.isfinite(result.value)):
                raise ValueError(f"gate {result.name!r} of run {run} has passed with value {result.value}")
            if result.round != judged.round:
                raise ValueError(
                    f"gate {result.name!r} is of round {result.round}, run {run} of {judged.round}"
                )
        digest = None if judged.checkpoint is None else self._checkpoint_digest(judged.checkpoint)
        self._delete(GATES, (GATES.c.run == run) & (GATES.c.round == judged.round))
        self._insert(GATES, [_gate_row(run, result) for result in results])
        logged = [{**(declared or {}).get(result.name, {}), **_logged(result)} for result in results]
        body = {**(basis or {}), "digest": digest, "round": judged.round, "gates": logged}
        self._log(actor, [NewEvent("run.gates", body, run=run)])

    def _know_view(self, digest: str) -> None:
        if self._value(select(VIEWS.c.id).where(VIEWS.c.digest == digest)) is None:
            raise NotFound("view", digest)

    def _checkpoint_digest(self, id: int) -> str:
        digest: str | None = self._value(select(CHECKPOINTS.c.digest).where(CHECKPOINTS.c.id == id))
        if digest is None:
            raise NotFound("checkpoint", id)
        return digest

    def _next_round(self, id: int, now: datetime) -> int:
        run = self.run(id)
        number = run.round + 1
        self._update(RUNS, RUNS.c.id == id, round=number, checkpoint=None)
        self._insert(ROUNDS, [{"run": id, "round": number, "view": run.view, "started": now}])
        return number


def _gate_row(run: int, result: GateResult) -> dict[str, Any]:
    row = {column.name: getattr(result, column.name) for column in _GATE}
    return {**row, "run": run, "value": _finite(result.value), "bound": _finite(result.bound)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _logged(result: GateResult) -> dict[str, Any]:
    """As the judge gave it: a NaN is written as text here, where the table has None."""
    return {
        column.name: getattr(result, column.name) for column in _GATE if column.name not in ("run", "detail")
    }
