"""Time does not undo a decision: histories of sources, reviewers, operators, restores, clocks and settings.

After each step nothing that was not wanted at its promotion has gone live; after each cycle nothing
that a person withdrew is live, nor what a source withdrew unless a candidate without it waits for review; and
at the end of a history what is wanted gets there, and only that.

A backup that is restored over the ledger that it was made of keeps out what was decided to be kept out since, and
nothing that was not wanted before the restore is served after it, not even while the next checkpoint is built; in an
empty home there is only the backup's ledger, and each check is about that (docs/operating.md).
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from editing.storage.checkpoints import read_manifest
from kbsync.errors import UsageError
from kbsync.runs import promotion, review
from kbsync.runs.lifecycle import Lifecycle
from kbsync.service.backup import backup, restore
from kbsync.service.cycle import cycle
from state.records import Run
from tests.support.decisions import newly_unwanted
from tests.support.histories import NUMBER, SUBJECTS, Histories, run_histories
from tests.support.micro import Micro
from tests.support.replay import check
from tests.support.scripted import Scripted, Watching

NEWS = st.dictionaries(
    st.sampled_from(SUBJECTS), st.sampled_from(["Anna", "Bob", None]), min_size=1, max_size=2
)


class Decisions(Histories):
    @initialize(news=NEWS, on_timeout=st.sampled_from(["approve", "reject"]))
    def start(self, news: dict[str, str | None], on_timeout: str) -> None:
        self.begin()
        self.backups: list[Path] = []
        self.homes = 1
        self.stated: dict[str, set[str]] = {}
        self.served: list[set[str]] = []
        self.change_settings(on_timeout, 3, reviewed=True)
        self.a_source_says(news)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.let_time_settle_it(self.cycle, reviewed=False)
            self.live_states_what_is_wanted()
            check(self.state)
            self.finish()

    def cycle(self) -> None:
        self.micro.now += timedelta(hours=1)
        with self.app.leading() as leadership:
            cycle(self.app, leadership, trigger="test", asked=True, worker=Watching(self.look))
        self.look()
        self.nothing_undone()
        with self.state.read() as tx:
            live = tx.live()
            gone = tx.withdrawn(live.view, live.base) if live else ()
            waits = bool(tx.runs(state="awaiting_review"))
        assert not any(fact.decision for fact in gone), "a person withdrew it, and it is still live"
        assert waits or not gone, "a source withdrew it, no candidate waits, and it is still live"

    def nothing_undone(self) -> None:
        assert newly_unwanted(self.state) == []

    def look(self) -> None:
        """Keep what the link leads to states, in this history or in one that a restore has ended."""
        with self.state.read() as tx:
            for one in tx.checkpoints():
                self.stated[one.digest] = {fact.key for fact in tx.view_facts(one.view)}
        if self.micro.home.live.is_symlink():
            served = read_manifest(self.micro.home.live.resolve()).digest
            self.served.append(self.stated[served])

    def in_review(self) -> list[Run]:
        with self.state.read() as tx:
            return list(tx.runs(state="awaiting_review"))

    # What happens

    @rule(news=NEWS)
    def a_source_says(self, news: dict[str, str | None]) -> None:
        self.state_in_a_file(news)
        self.cycle()

    @rule(approved=st.booleans())
    def a_reviewer_decides(self, approved: bool) -> None:
        for run in self.in_review():
            if not approved:
                review.reject_run(self.app, run.id, "no", "bob")
                continue
            with self.app.leading() as leadership:
                with leadership.write() as tx:
                    staged = tx.advance_run(run.id, "awaiting_review", "staged", actor="bob", reason="good")
                Lifecycle(self.app, leadership, Scripted()).drive(staged)
        self.nothing_undone()

    @rule()
    def nobody_decides_in_time(self) -> None:
        self.micro.now += timedelta(days=3)
        self.cycle()

    @rule()
    def an_operator_rolls_back(self) -> None:
        with self.app.leading() as leadership, suppress(UsageError):
            promotion.rollback(self.app, leadership, target=None, reason="wrong", actor="ada")
        self.nothing_undone()

    @rule()
    def an_operator_makes_a_backup(self) -> None:
        self.micro.now += timedelta(hours=1)
        file = self.root / f"{len(self.backups)}.tar"
        backup(self.app, file)
        self.backups.append(file)

    @rule(number=NUMBER, elsewhere=st.booleans())
    def an_operator_restores(self, number: int, elsewhere: bool) -> None:
        """A backup over the home, whose checkpoints stay, or into an empty home with the same sources."""
        if not self.backups:
            return
        file = self.backups[number % len(self.backups)]
        self.micro.now += timedelta(hours=1)
        self.look()
        with self.state.read() as tx:
            out = {fact.key for fact in tx.facts() if fact.decision in ("rejected", "barred")}
            wanted = {fact.key for fact in tx.wanted()}
        self.state.close()
        self.app.close()
        if elsewhere:
            self.move_to_an_empty_home()
        restore(self.micro.home, file, config=None, replace=not elsewhere, actor="ada", now=self.micro.now)
        self.app = self.micro.application()
        self.base, self.state = self.app.base, self.app.state
        self.nothing_undone()
        before = len(self.served)
        self.cycle()
        if not elsewhere and before:
            came = set().union(*self.served[before:]) - self.served[before - 1]
            assert came <= wanted, "what was not wanted before the restore was served after it"
        with self.state.read() as tx:
            back = [fact for fact in tx.wanted() if fact.key in out]
        assert elsewhere or not back, "a restore has undone a decision"

    @rule(number=NUMBER, news=NEWS, elsewhere=st.booleans())
    def a_backup_is_restored_after_decisions(
        self, number: int, news: dict[str, str | None], elsewhere: bool
    ) -> None:
        self.nobody_decides_in_time()
        self.an_operator_makes_a_backup()
        self.an_operator_retracts(number)
        self.a_source_says(news)
        self.nobody_decides_in_time()
        self.an_operator_restores(len(self.backups) - 1, elsewhere)

    def move_to_an_empty_home(self) -> None:
        """The settings, as an operator corrects them, and the sources' folder; nothing else comes along."""
        old = self.micro
        self.micro = Micro(self.root / f"world-{self.homes}", old.now)
        self.homes += 1
        for name in ("model", "corpus.txt", "heldout.txt"):
            (shutil.copytree if name == "model" else shutil.copy2)(old.root / name, self.micro.root / name)
        shutil.copytree(old.drop, self.micro.drop)
        self.micro.home.root.mkdir()
        text = old.home.config.read_text(encoding="utf-8").replace(str(old.root), str(self.micro.root))
        self.micro.home.config.write_text(text, encoding="utf-8")

    @rule(years=st.sampled_from([-3, 10]), news=NEWS)
    def the_clock_is_wrong_for_a_cycle(self, years: int, news: dict[str, str | None]) -> None:
        right = self.micro.now
        self.micro.now += timedelta(days=365 * years)
        self.a_source_says(news)
        self.micro.now = right + timedelta(hours=2)
        self.cycle()


def test_no_history_undoes_a_decision(imported_world: Micro) -> None:
    run_histories(Decisions, imported_world, examples=3, steps=12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_history_of_forty_undoes_a_decision(imported_world: Micro) -> None:
    run_histories(Decisions, imported_world, examples=40, steps=12)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
def test_no_history_of_a_thousand_undoes_a_decision(imported_world: Micro) -> None:
    """A thousand histories of up to twelve steps; a step is a whole cycle with its promotion."""
    run_histories(Decisions, imported_world, examples=1_000, steps=12)
