"""Instants that were written while the clock was ahead: they count as now.

A clock that was years ahead for a moment leaves instants in the ledger that the corrected clock reaches
in years: a value would settle then, a failed hook be tried again, a review time out.  Whoever leads
corrects them before it works on; the audit log keeps the instants that its events were written at.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, func, select

from state.deployments import DEPLOYMENTS
from state.fact_queries import FACTS
from state.hash_chain import instant
from state.observations import OBSERVATIONS
from state.records import SlotKey
from state.runs import OPEN, RUNS
from state.transaction import EVENTS, SLOTS, NewEvent, Writer, chunks

PLAUSIBLE = datetime(2023, 1, 1, tzinfo=UTC)
"""A clock before this date, which is before kbsync was written, has not been set yet."""
TOLERANCE = timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""
_PAGE = 500
_RECENT = 50
"""Runs and deployments that are looked at, newest first: older ones are not waited for any more."""


def clock_is_set(now: datetime) -> bool:
    """Whether `now` is plausible.  A machine without a battery for its clock starts in 1970.

    With such a clock, every value would begin in the future and every source would be read too early.
    """
    return now >= PLAUSIBLE


class InstantTransitions(Writer):
    def correct_instants(self, actor: str) -> tuple[dict[str, int], set[SlotKey]]:
        """Set instants later than now to now; how many rows of each table, without those that had none.

        What was to happen some time after such an instant happens that time after now.  Also returns the
        slots of the facts that changed at such an instant: dates decide differently now.

        A clock that is not set corrects nothing: by it, every instant is later than now, and a fact would not
        settle nor a review last as long as they have to.
        """
        now = self.clock()
        if not clock_is_set(now):
            return {}, set()
        late = now + TOLERANCE
        changed = self._changed_after(late)
        for chunk in chunks(fact for fact, _ in changed):
            self._update(FACTS, FACTS.c.id.in_(chunk) & (FACTS.c.status != "held"), updated=now, since=now)
        counts = {
            "observations": self._correct_observations(now, late),
            "facts": self._correct_held(now, late),
            "runs": self._correct_runs(now, late),
            "deployments": self._correct_recent(DEPLOYMENTS, now, late),
        }
        found = {name: count for name, count in counts.items() if count}
        if found:
            self._log(actor, [NewEvent("clock.corrected", {"now": now, "rows": found})])
        return found, {pair for _, pair in changed}

    def _changed_after(self, late: datetime) -> list[tuple[int, SlotKey]]:
        """Facts (and their slots) of the newest events, as far back as these lie later than `late`."""
        facts: dict[int, None] = {}
        below = 1 + int(self._value(select(func.max(EVENTS.c.seq))) or 0)
        while below > 1:
            page = select(EVENTS.c.fact).where(
                EVENTS.c.seq < below, EVENTS.c.seq >= below - _PAGE, EVENTS.c.at > instant(late)
            )
            rows = self._rows(page)
            if not rows:
                break
            facts |= {row.fact: None for row in rows if row.fact is not None}
            below -= _PAGE
        slots = select(FACTS.c.id, SLOTS.c.subject, SLOTS.c.relation).join_from(FACTS, SLOTS)
        return [
            (row.id, (row.subject, row.relation))
            for chunk in chunks(facts)
            for row in self._rows(slots.where(FACTS.c.id.in_(chunk), FACTS.c.updated > late))
        ]

    def _correct_observations(self, now: datetime, late: datetime) -> int:
        """The newest rows, page by page: those written while the clock was ahead lie together."""
        count, below = 0, 1 + int(self._value(select(func.max(OBSERVATIONS.c.id))) or 0)
        while below > 1:
            page = (OBSERVATIONS.c.id < below) & (OBSERVATIONS.c.id >= below - _PAGE)
            corrected = self._update(OBSERVATIONS, page & (OBSERVATIONS.c.observed > late), observed=now)
            if not corrected:
                break
            count, below = count + corrected, below - _PAGE
        return count

    def _correct_held(self, now: datetime, late: datetime) -> int:
        """Held facts are admitted again at once, which computes how long they have to wait."""
        held = (FACTS.c.held_until > now) & (FACTS.c.status == "held") & (FACTS.c.updated > late)
        return self._update(FACTS, held, updated=now, held_until=now)

    def _correct_runs(self, now: datetime, late: datetime) -> int:
        """A review that began later than now begins now, and keeps its length."""
        waiting = self._rows(
            select(RUNS.c.id, RUNS.c.updated, RUNS.c.review_until).where(
                RUNS.c.state.in_(OPEN), RUNS.c.updated > late, RUNS.c.review_until.is_not(None)
            )
        )
        for row in waiting:
            self._update(RUNS, RUNS.c.id == row.id, review_until=now + (row.review_until - row.updated))
        return self._correct_recent(RUNS, now, late)

    def _correct_recent(self, source: Table, now: datetime, late: datetime) -> int:
        recent = select(source.c.id).order_by(source.c.id.desc()).limit(_RECENT)
        ids = [row.id for row in self._rows(recent)]
        return self._update(source, source.c.id.in_(ids) & (source.c.updated > late), updated=now)
