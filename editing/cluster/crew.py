"""Actors that do rounds, whatever becomes of them: a lost one is replaced, and its task is given to another.

Work goes on with the actors that run.  One that has no place yet, since its node was taken away or is starting, joins
once it has one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from editing.cluster.actor import ActorHost, Builder
from editing.cluster.connection import RESUMES, Connection
from editing.cluster.objects import first_line
from editing.cluster.parcels import Carrier, Delivery
from editing.cluster.plan import ClusterPlan
from editing.cluster.watchdog import Watchdog
from editing.errors import ClusterError, EditingError, SpecError
from editing.worker.protocol import PATIENCE, Channel

LOSSES = 5
"""How many actors one task may lose before its round fails: something is then wrong with the task."""
SILENCE_S = 300.0
"""How long a working actor may leave questions about its progress unanswered."""
STEP_S = 120.0
"""How long Ray may take for what usually takes milliseconds."""
_LOOK_S, _PAUSE_S = 0.3, 1.0
_STUCK = "Ray did not answer for two minutes; " + RESUMES


@dataclass(eq=False)
class Assignment:
    """One round to be done, by any actor."""

    spec: Path
    progress: tuple[str, int, int] = ("start", 0, 1)
    answer: str | Delivery | None = None
    """Of the actor that finished the round."""
    error: EditingError | None = None
    """Why the round failed."""
    losses: int = 0

    @property
    def ended(self) -> bool:
        return self.answer is not None or self.error is not None


@dataclass(eq=False)
class _Hand:
    """One actor, and what it was asked."""

    actor: Any
    place: Any
    """The reference of where it is; None once that is known."""
    task: Assignment | None = None
    working: Any = None
    """The reference of its task's result."""
    asked: Any = None
    """The reference of its progress."""
    heard: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)


class Crew:
    """The actors of one build."""

    def __init__(
        self,
        channel: Channel,
        plan: ClusterPlan,
        watchdog: Watchdog,
        connection: Connection,
        carrier: Carrier,
    ) -> None:
        self._channel, self._plan, self._watchdog, self._connection = channel, plan, watchdog, connection
        self._carrier = carrier
        self._hands: list[_Hand] = []
        self._running = 0.0
        """When an actor was last running."""
        self._reason = ""
        """Why an actor was lost last."""

    def open(self, base: tuple[str, str, str | None] | None = None) -> None:
        """Start the actors that are missing; new ones load `base` (directory, digest, device) if it is named."""
        self._connection.open()
        with self._watchdog.within(STEP_S, _STUCK):
            while len(self._hands) < self._plan.workers:
                hand = self._start()
                if base is not None:
                    hand.actor.load.remote(*base)
                self._hands.append(hand)
        self._running = time.monotonic()

    def close(self) -> None:
        """End the actors; `open` starts others."""
        with self._watchdog.within(STEP_S, _STUCK):
            for hand in self._hands:
                ray.kill(hand.actor)
        self._hands = []

    def run(self, tasks: Sequence[Assignment], moved: Callable[[], None]) -> None:
        """Have every task done; `moved` is called when progress may have been made.

        A round's own error is kept in its task.  Raises ClusterError, SpecError, Stopped.
        """
        self.open()
        waiting = deque(tasks)
        while not all(task.ended for task in tasks):
            self._channel.raise_if_stopping()
            self._connection.check()
            with self._watchdog.within(STEP_S, _STUCK):
                self._give(waiting)
                self._listen(waiting)
                self._ask(waiting)
            self._require_one()
            moved()

    def _start(self) -> _Hand:
        options = {
            "num_cpus": self._plan.cpus,
            "num_gpus": self._plan.devices,
            "max_concurrency": Builder.THREADS,
        }
        actor = ray.remote(Builder).options(**options).remote()
        return _Hand(actor, actor.place.remote())

    def _give(self, waiting: deque[Assignment]) -> None:
        """Tasks to those that have none."""
        for hand in self._hands:
            if waiting and hand.place is None and hand.task is None:
                hand.task = waiting.popleft()
                hand.working = hand.actor.round.remote(self._carrier.request(hand.task.spec))
                hand.heard = hand.moved = time.monotonic()

    def _listen(self, waiting: deque[Assignment]) -> None:
        """What came back since the last time; waits a moment for it."""
        awaited = [hand.place or hand.working for hand in self._hands if hand.place or hand.working]
        done, _ = ray.wait(awaited, num_returns=1, timeout=_LOOK_S)
        if done:
            done, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)
        for hand in list(self._hands):
            reference = hand.place or hand.working
            if reference not in done:
                continue
            try:
                answer = ray.get(reference, timeout=STEP_S)
            except RayTaskError as error:
                self._failed(hand, error)
            except RayError as error:
                self._lost(hand, first_line(error), waiting)
            else:
                self._answered(hand, answer)

    def _answered(self, hand: _Hand, answer: Any) -> None:
        if hand.place is not None:
            _check_versions(answer)
            hand.place = None
            return
        assert hand.task is not None
        hand.task.answer = answer
        hand.task = hand.working = hand.asked = None

    def _failed(self, hand: _Hand, error: RayTaskError) -> None:
        """The round raised an error; the actor lives."""
        cause = error.cause if isinstance(error.cause, Exception) else error
        if not isinstance(cause, EditingError):
            cause = ClusterError(f"{type(cause).__name__} on an actor: {first_line(cause)}")
        if hand.task is None:
            raise cause
        hand.task.error = cause
        hand.task = hand.working = hand.asked = None

    def _ask(self, waiting: deque[Assignment]) -> None:
        """How far the actors are; those that do not answer, or do not move, count as lost."""
        now = time.monotonic()
        busy = [hand for hand in self._hands if hand.task is not None]
        for hand in busy:
            if hand.asked is None:
                hand.asked = hand.actor.progress.remote()
        if not busy:
            return
        done, _ = ray.wait([hand.asked for hand in busy], num_returns=len(busy), timeout=0)
        for hand in busy:
            assert hand.task is not None
            if hand.asked in done:
                hand.asked, reference = None, hand.asked
                try:
                    progress = ray.get(reference, timeout=STEP_S)
                except RayError:
                    continue  # the round itself says so
                if progress != hand.task.progress:
                    hand.task.progress, hand.moved = progress, now
                hand.heard = now
            if now - hand.heard > SILENCE_S:
                self._lost(hand, f"it did not answer for {SILENCE_S:.0f} s", waiting)
            elif now - hand.moved > PATIENCE:
                self._lost(hand, f"it did not get further for {PATIENCE:.0f} s", waiting)

    def _lost(self, hand: _Hand, reason: str, waiting: deque[Assignment]) -> None:
        """Another actor in the place of one that was lost; its task waits again.  Raises ClusterError."""
        task = hand.task
        ray.kill(hand.actor)  # if it lives on behind a broken network, nobody waits for it
        self._hands[self._hands.index(hand)] = self._start()
        self._channel.log("an actor was lost", reason=reason, had_task=task is not None)
        self._reason = reason
        if task is None:
            time.sleep(_PAUSE_S)  # one that cannot start is not started as fast as possible
            return
        task.losses += 1
        if task.losses >= LOSSES:
            raise ClusterError(
                f"{LOSSES} actors were lost with the same task, the last one because: {reason}; Ray's logs say more; "
                f"if memory ran out, give each actor more of it; {RESUMES}"
            )
        waiting.appendleft(task)

    def _require_one(self) -> None:
        """Raise ClusterError if no actor has been running for too long."""
        now = time.monotonic()
        running = sum(hand.place is None for hand in self._hands)
        if running:
            self._running = now
            return
        self._channel.progress("cluster", running, len(self._hands))
        if now - self._running > self._plan.start_s:
            with self._watchdog.within(STEP_S, _STUCK):
                there = ray.cluster_resources()
            raise ClusterError(
                f"no actor was started within {self._plan.start_s:.0f} s: each needs {self._plan.cpus:g} CPUs and "
                f"{self._plan.devices:g} GPUs on one node, the cluster has {there.get('CPU', 0):g} and "
                f"{there.get('GPU', 0):g} on {len(ray.nodes())} nodes (ray status says who uses them); add nodes, or "
                "change [executor.ray]"
                + (f"; the last actor was lost because: {self._reason}" if self._reason else "")
            )


def _check_versions(there: ActorHost) -> None:
    """Raises SpecError if an actor has other versions than this process."""
    here = ActorHost.here()
    if there.versions != here.versions:
        raise SpecError(
            f"the node {there.host} has {there}, this one {here}: install the same versions on all nodes"
        )
