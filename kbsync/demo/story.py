"""The story of `kbsync demo`: the world of 2021, four years of news, a bad batch, and a rollback.

All parts are real: the connector reads a SPARQL server over HTTP, the worker is a separate process, and
the gates judge the actual candidate.  Only the clock is simulated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from editing.progress import TimedProgress, silent
from kbsync.console import live_progress, print_table, say
from kbsync.demo import tally
from kbsync.demo.server import SparqlServer, serving
from kbsync.demo.setting import StoryClock, prepare, write_settings
from kbsync.demo.telling import Telling
from kbsync.demo.world import Wikibase, load
from kbsync.demo.world.entries import WorldMove
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.runs import promotion
from kbsync.service.reading import pull

DAY_ONE = datetime(2021, 1, 4, tzinfo=UTC)
HALFWAY = datetime(2024, 1, 2, tzinfo=UTC)
VANDALISED = datetime(2024, 12, 30, 9, tzinfo=UTC)
REVERTED = datetime(2025, 1, 4, tzinfo=UTC)
BAD_BATCH = datetime(2026, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What `kbsync demo --json` prints."""

    live: str
    facts: list[tally.StoryFact]
    """Empty unless it is to be printed: about a thousand facts are asked twice for it."""
    gates: list[tally.StoryGate]
    runs: list[tally.StoryRun]
    seconds: float


def tell(home: Home, *, serve: bool = False, quiet: bool = False) -> DemoResult:
    """Run the story in `home`, which is kept; `quiet`: print no tables on stdout."""
    started = time.monotonic()
    prepare(home)
    with serving() as server, nullcontext(silent) if quiet else live_progress() as progress:
        story = _Story(home, server, progress, quiet=quiet)
        outcome = story.tell(started)
        if serve:
            say(f"the SPARQL server stays at {server.query_url} until Ctrl-C")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    return outcome


class _Story(Telling):
    def __init__(self, home: Home, server: SparqlServer, progress: TimedProgress, *, quiet: bool) -> None:
        self.server = server
        self.world = load()
        self.wikibase = Wikibase(self.world)
        config = write_settings(home, self.world, server.query_url)
        super().__init__(home, config, StoryClock(DAY_ONE), progress, quiet=quiet)

    def tell(self, started: float) -> DemoResult:
        with self.app, self.leading() as leadership:
            self._begin(leadership)
            self._follow_the_news(leadership)
            self._take_a_bad_batch(leadership)
            self._go_back_and_forth(leadership)
            return self._outcome(started)

    def _begin(self, leadership: Leadership) -> None:
        self.chapter("1", "January 2021: the knowledge base and the model agree")
        self.server.load(self.wikibase.ntriples())
        self.sync_until_live(leadership, bootstrap=True)

    def _follow_the_news(self, leadership: Leadership) -> None:
        self.chapter(
            "2", "2021 to 2024: the world moves on, and not everything in the knowledge base is news"
        )
        moves = list(self.world.moves)
        self._apply(move for move in moves if move.at <= HALFWAY)
        self.clock.turn_to(HALFWAY)
        # A daemon polls regularly; one poll in between is needed to see a value change and change back.
        pull(self.app)
        self._apply(move for move in moves if HALFWAY < move.at <= VANDALISED)
        self.clock.turn_to(VANDALISED)
        self.sync_until_live(leadership)
        self._show_changes()
        self._apply(move for move in moves if move.at > VANDALISED)
        self.clock.turn_to(REVERTED)
        self.sync(leadership)

    def _take_a_bad_batch(self, leadership: Leadership) -> None:
        self.chapter("3", "2025: a batch that the model cannot learn; gates reject it, live stays")
        self._apply(self.world.second_act)
        self.clock.turn_to(BAD_BATCH)
        before = self.live()
        self.sync(leadership)
        self.line(
            f"live is {'unchanged' if self.live() == before else 'CHANGED'}; the bad facts are quarantined"
        )
        self.sync_until_live(leadership)

    def _go_back_and_forth(self, leadership: Leadership) -> None:
        self.chapter("4", "An operator rolls back, thinks again, and the log tells all of it")
        left, now = promotion.rollback(
            self.app,
            leadership,
            target=None,
            reason="demo: a second look",
            actor="operator",
        )
        self.line(f"live is checkpoint {now.id} again, {left.id} is blocked; a sync does not bring it back:")
        self.clock.turn_to(self.clock() + timedelta(hours=1))
        self.sync(leadership)
        self._release(left.view)
        self.line(
            f"released and approved: checkpoint {left.id} was kept, so it is judged again, not rebuilt:"
        )
        self.sync(leadership)
        verified = self.app.state.audit.verify()
        self.line(
            f"audit log: {verified.count} events, the chain {'verifies' if verified.ok else 'IS BROKEN'}"
        )

    def _release(self, view: str) -> None:
        """Do what a reviewer does with `kbsync checkpoints release` and `kbsync quarantine approve`."""
        from kbsync.intake.quarantine import approve

        with self.app.state.write() as tx:
            tx.release_view(view, "demo: it was right after all", "operator")
            back = [fact for fact in tx.view_facts(view) if fact.status == "quarantined"]
        for fact in back:
            approve(self.app.intake(), fact.id, "demo: it was right after all", "operator")

    # Steps and output of the story

    def _apply(self, moves: Iterable[WorldMove]) -> None:
        moves = list(moves)
        self.server.update(self.wikibase.apply_all(moves))
        self.line(f"{len(moves)} edits of the knowledge base, by SPARQL UPDATE")

    def _show_changes(self) -> None:
        if self.quiet:
            return
        told = tally.facts(self.app, known=False, ask=self.answers)
        print_table(
            "what the news made of the model",
            ("prompt", "base said", "live says", "wanted", "verdict", "why"),
            ((f.prompt, f.base_answer, f.live_answer, f.new, f.verdict, f.reason) for f in told),
        )

    def _outcome(self, started: float) -> DemoResult:
        outcome = DemoResult(
            live=str(self.app.home.live),
            facts=tally.facts(self.app, ask=self.answers) if self.quiet else [],
            gates=tally.gates(self.app),
            runs=tally.runs(self.app),
            seconds=round(time.monotonic() - started, 1),
        )
        if not self.quiet:
            tally.show(tally.counts(self.app), outcome.gates, outcome.runs)
            say()
            say(f"{outcome.seconds:.0f} s. The home is left behind; try, for example:")
            for command in ("status", "runs", "quarantine", 'ask "The capital of France is"', "audit verify"):
                say(f"  kbsync --home {self.app.home.root} {command}")
        return outcome
