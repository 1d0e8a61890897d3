"""Promotion, fenced and with an outbox: what goes live, and which servers are to be notified.

The promotion is this transaction and nothing else; `checkpoints/live` on disk is a projection of
it and deployments are work that it leaves behind. A committed promotion reaches the
hooks at least once, however often the daemon is killed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, text

from state.checkpoints import BLOCKED, CHECKPOINT_NEXT, CHECKPOINTS, CheckpointTransitions
from state.deployments import DeploymentTransitions
from state.errors import ForbiddenTransition, GatesNotPassed, NoLongerWanted, NotFound, ViewBlocked
from state.leases import LeaseTransitions
from state.records import Checkpoint, Deployment, Fact, Lease
from state.runs import GATES, RUNS
from state.transaction import EVENTS, NewEvent
from state.view_set import ViewSet
from state.views import ViewQueries
from state.withdrawals import WithdrawalQueries


class PromotionQueries(WithdrawalQueries):
    def unlike_log(self, checkpoint: Checkpoint) -> str:
        """How this row of the table contradicts the log, or nothing.

        Cheap: asked before a checkpoint is served, whatever the table says of it.  A live one has to be
        the one that was promoted last, a retired one that goes live again must have been promoted once.
        """
        made = self._created(checkpoint)
        if made is None:
            return f"no event mentions checkpoint {checkpoint.id}"
        for name in ("path", "digest", "view", "base"):
            if made[name] != (found := getattr(checkpoint, name)):
                return f"{name} of checkpoint {checkpoint.id} is {found!r}; the log says {made[name]!r}"
        promoted = self._promoted()
        if checkpoint.status == "live" and (not promoted or promoted[0] != checkpoint.id):
            said = f"checkpoint {promoted[0]}" if promoted else "none"
            return f"checkpoint {checkpoint.id} is live; the log says that {said} was promoted last"
        if checkpoint.status == "retired" and checkpoint.promoted and checkpoint.id not in promoted:
            return f"checkpoint {checkpoint.id} was live before, but the log has no such promotion"
        return ""

    def restored_since_promotion(self) -> bool:
        """Whether the ledger was restored from a backup after its last promotion.

        Its live checkpoint is then the backup's, and may state what was withdrawn after the backup.
        """
        last = select(func.max(EVENTS.c.seq)).where(text("kind = 'checkpoint.promoted'"))
        since = int(self._value(last) or 0)
        restored = select(EVENTS.c.seq).where(EVENTS.c.seq > since, EVENTS.c.kind == "ledger.restored")
        return self._value(restored.limit(1)) is not None

    def not_promotable(self, view: str, base: str, live: Checkpoint | None) -> tuple[Fact, ...]:
        """Facts because of which a view must not replace `live`: it would newly state them, and they are not wanted.

        After a restore, `live` is the backup's and no measure of what is served: then every fact of the view counts.
        """
        known = None if live is None or self.restored_since_promotion() else live.view
        return self.newly_unwanted(view, base, known)

    def _created(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """The event of its making."""
        for event in self.events(run=checkpoint.run, kind="checkpoint.created"):
            body: dict[str, Any] = json.loads(event.body)
            if body["checkpoint"] == checkpoint.id:
                return body
        return None

    def _promoted(self) -> list[int]:
        """Every checkpoint that was promoted, newest promotion first."""
        newest = select(EVENTS.c.body).where(text("kind = 'checkpoint.promoted'"))
        return [
            json.loads(row.body)["checkpoint"] for row in self._rows(newest.order_by(EVENTS.c.seq.desc()))
        ]


class PromotionTransitions(CheckpointTransitions, LeaseTransitions, DeploymentTransitions, PromotionQueries):
    def promote(
        self,
        checkpoint: int,
        lease: Lease,
        *,
        run: int | None = None,
        hooks: Sequence[str] = (),
        reason: str = "gates passed",
        actor: str | None = None,
    ) -> Checkpoint:
        """Makes a checkpoint live under the current leader generation; promoting live again changes nothing.

        `run` is the run that judged it; without one, a candidate needs the verdict of the run that
        built it, and what was live before (a rollback) needs no new one. `hooks` are the names of
        the deploy hooks to call; each gets a pending deployment in this same transaction.

        Raises StaleLeader (nothing is written), ForbiddenTransition (rejected), ViewBlocked (rolled
        back and not released), GatesNotPassed (the run's last round is about another
        checkpoint, has no gate results, or a failed one), NoLongerWanted (it would newly state facts that
        are not wanted any more).
        """
        self.check_lease(lease)
        chosen, live = self.checkpoint(checkpoint), self.live()
        if live is not None and live.id == checkpoint:
            return live
        self._check_promotable(chosen)
        if run is not None or chosen.status == "candidate":
            self._check_gates(checkpoint, chosen.run if run is None else run)
            self._check_wanted(chosen, live)
        actor = actor or lease.holder
        number = self._make_live(checkpoint, live, actor)
        self._supersede(actor)
        self._add_deployments(checkpoint, number, hooks)
        body = self._described(chosen) | {
            "previous": None if live is None else live.id,
            "promotion": number,
            "generation": lease.generation,
            "hooks": list(hooks),
            "reason": reason,
        }
        self._log(actor, [NewEvent("checkpoint.promoted", body, run=chosen.run if run is None else run)])
        return self.checkpoint(checkpoint)

    def _make_live(self, checkpoint: int, live: Checkpoint | None, actor: str) -> int:
        """Put it in the place of `live`; returns the number of the promotion."""
        if live is not None:
            self.retire(live.id, f"checkpoint {checkpoint} is promoted", actor)
        number = 1 + int(self._value(select(func.max(CHECKPOINTS.c.promotion))) or 0)
        self._update(
            CHECKPOINTS,
            CHECKPOINTS.c.id == checkpoint,
            status="live",
            promoted=self.clock(),
            promotion=number,
        )
        return number

    def _described(self, chosen: Checkpoint) -> dict[str, Any]:
        """What the event of a promotion says about the checkpoint and its facts."""
        facts = ViewSet(ViewQueries(self.connection, self.clock).view_facts(chosen.view))
        return {
            "checkpoint": chosen.id,
            "view": chosen.view,
            "base": chosen.base,
            "digest": chosen.digest,
            "view_root": facts.root().hex(),
            "view_size": facts.size,
            "from": chosen.status,
        }

    def add_hooks(self, hooks: Sequence[str], lease: Lease, actor: str) -> tuple[Deployment, ...]:
        """Pending deployments of what is live for those of `hooks` that its promotion did not name.

        For hooks that were configured since. Raises StaleLeader.
        """
        self.check_lease(lease)
        live = self.live()
        if live is None or live.promotion is None:
            return ()
        named = {one.hook for one in self.deployments(promotion=live.promotion)}
        added = tuple(hook for hook in hooks if hook not in named)
        if added:
            self._add_deployments(live.id, live.promotion, added)
            body = {"checkpoint": live.id, "promotion": live.promotion, "hooks": list(added)}
            self._log(actor, [NewEvent("deployments.added", body, run=live.run)])
        return tuple(one for one in self.deployments(promotion=live.promotion) if one.hook in added)

    def _check_promotable(self, chosen: Checkpoint) -> None:
        if "live" not in CHECKPOINT_NEXT[chosen.status]:
            raise ForbiddenTransition(
                "checkpoint", chosen.id, chosen.status, "live", CHECKPOINT_NEXT[chosen.status]
            )
        if chosen.collected is not None:
            raise ForbiddenTransition("checkpoint", chosen.id, "collected", "live", ())
        if chosen.blocked:
            reason = self._value(select(BLOCKED.c.reason).where(BLOCKED.c.view == chosen.view))
            raise ViewBlocked(chosen.view, str(reason))

    def _check_wanted(self, chosen: Checkpoint, live: Checkpoint | None) -> None:
        """What was decided since the run was planned holds: nothing that is not wanted goes live."""
        if unwanted := self.not_promotable(chosen.view, chosen.base, live):
            raise NoLongerWanted(chosen.id, unwanted)

    def _check_gates(self, checkpoint: int, run: int) -> None:
        """The run's last round was about this checkpoint, and every gate, at least one, has passed."""
        row = self._row(select(RUNS.c.round, RUNS.c.checkpoint).where(RUNS.c.id == run))
        if row is None:
            raise NotFound("run", run)
        round, judged = row
        if judged != checkpoint:
            raise GatesNotPassed(checkpoint, run, f"is about checkpoint {judged} in its round {round}")
        gates = self._rows(
            select(GATES.c.name, GATES.c.passed).where(GATES.c.run == run, GATES.c.round == round)
        )
        failed = sorted(gate.name for gate in gates if not gate.passed)
        if not gates:
            raise GatesNotPassed(checkpoint, run, f"has no gate results in its round {round}")
        if failed:
            raise GatesNotPassed(checkpoint, run, f"failed {', '.join(failed)} in its round {round}")
