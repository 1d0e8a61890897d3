"""Time does not undo a decision: histories of sources, reviewers, operators, clocks and settings.

After each step live states nothing anew that was not wanted when it was promoted; after each cycle nothing
that a person withdrew is live, nor what a source withdrew unless a candidate without it waits for review; and
at the end of a history what is wanted gets there, and only that.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from kbsync.errors import UsageError
from kbsync.intake import quarantine
from kbsync.runs import promotion, review
from kbsync.runs.lifecycle import Lifecycle
from kbsync.service.cycle import cycle
from state.records import Fact, Run
from tests.support.decisions import newly_unwanted
from tests.support.micro import Micro, make
from tests.support.replay import check
from tests.support.scripted import Scripted

SUBJECTS = ("Blue House", "Red Boat", "Old Mill")
NEWS = st.dictionaries(
    st.sampled_from(SUBJECTS), st.sampled_from(["Anna", "Bob", None]), min_size=1, max_size=2
)
NUMBER = st.integers(0, 5)


class Decisions(RuleBasedStateMachine):
    template: Micro

    @initialize(news=NEWS, on_timeout=st.sampled_from(["approve", "reject"]))
    def start(self, news: dict[str, str | None], on_timeout: str) -> None:
        self.root = Path(mkdtemp(prefix="decisions-"))
        shutil.copytree(self.template.root, self.root / "world", symlinks=True)
        self.micro = Micro(self.root / "world", self.template.now)
        text = self.template.home.config.read_text(encoding="utf-8")
        self.micro.home.config.write_text(
            text.replace(str(self.template.root), str(self.micro.root)), encoding="utf-8"
        )
        self.files = 0
        self.app = self.micro.application()
        self.base, self.state = self.app.base, self.app.state
        self.change_settings(on_timeout, 3, reviewed=True)
        self.a_source_says(news)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.what_is_wanted_gets_there()
            check(self.state)
            self.app.close()
            shutil.rmtree(self.root)

    def change_settings(self, on_timeout: str, capacity: int, *, reviewed: bool) -> None:
        text = self.micro.home.config.read_text(encoding="utf-8")
        text = re.sub(r"on_timeout = '\w+'", f"on_timeout = '{on_timeout}'", text)
        text = re.sub(r"required = \w+", f"required = {str(reviewed).lower()}", text)
        text = re.sub(r"capacity = \d+", f"capacity = {capacity}", text)
        self.micro.home.config.write_text(text, encoding="utf-8")
        self.app = self.micro.application()
        self.app.__dict__.update(state=self.state, base=self.base)

    def cycle(self) -> None:
        self.micro.now += timedelta(hours=1)
        with self.app.leading() as leadership:
            cycle(self.app, leadership, trigger="test", asked=True, worker=Scripted())
        self.nothing_undone()
        with self.state.read() as tx:
            live = tx.live()
            gone = tx.withdrawn(live.view, live.base) if live else ()
            waits = bool(tx.runs(state="awaiting_review"))
        assert not any(fact.decision for fact in gone), "a person withdrew it, and it is still live"
        assert waits or not gone, "a source withdrew it, no candidate waits, and it is still live"

    def nothing_undone(self) -> None:
        assert newly_unwanted(self.state) == []

    def pick(self, number: int, chosen: Callable[[Fact], bool]) -> Fact | None:
        with self.state.read() as tx:
            found = [fact for fact in tx.facts() if chosen(fact)]
        return found[number % len(found)] if found else None

    def in_review(self) -> list[Run]:
        with self.state.read() as tx:
            return list(tx.runs(state="awaiting_review"))

    # What happens

    @rule(news=NEWS)
    def a_source_says(self, news: dict[str, str | None]) -> None:
        self.files += 1
        self.micro.say(news, name=f"{self.files:06}")
        self.cycle()

    @rule(number=NUMBER)
    def an_operator_retracts(self, number: int) -> None:
        fact = self.pick(number, lambda fact: fact.status == "wanted")
        if fact is not None:
            quarantine.reject(self.app.intake(), fact.id, "we were wrong", "ada")

    @rule(number=NUMBER)
    def an_operator_takes_it_back(self, number: int) -> None:
        fact = self.pick(number, lambda fact: fact.decision in ("rejected", "barred"))
        if fact is not None:
            with suppress(UsageError):
                quarantine.reopen(self.app.intake(), fact.id, "right after all", "ada")

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
    def an_operator_releases_what_was_rolled_back(self) -> None:
        with self.state.write() as tx:
            for block in tx.blocked_views():
                tx.release_view(block.view, "right after all", "ada")

    @rule(
        on_timeout=st.sampled_from(["approve", "reject"]),
        capacity=st.integers(1, 3),
        reviewed=st.booleans(),
    )
    def an_operator_changes_the_settings(self, on_timeout: str, capacity: int, reviewed: bool) -> None:
        self.change_settings(on_timeout, capacity, reviewed=reviewed)

    @rule(years=st.sampled_from([-3, 10]), news=NEWS)
    def the_clock_is_wrong_for_a_cycle(self, years: int, news: dict[str, str | None]) -> None:
        right = self.micro.now
        self.micro.now += timedelta(days=365 * years)
        self.a_source_says(news)
        self.micro.now = right + timedelta(hours=2)
        self.cycle()

    def what_is_wanted_gets_there(self) -> None:
        self.change_settings("approve", 100, reviewed=False)
        self.an_operator_releases_what_was_rolled_back()
        for _ in range(3):
            self.micro.now += timedelta(days=3)
            self.cycle()
        with self.state.read() as tx:
            live, wanted = tx.live(), {fact.id for fact in tx.wanted()}
            stated = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        assert stated == wanted


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = make(
        tmp_path_factory.mktemp("template") / "world",
        thresholds={},
        extra="[gates.weight_growth]\nthreshold = 9.0\n\n"
        "[review]\nrequired = true\ntimeout = '2d'\non_timeout = 'approve'\n",
    )
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[plan]\n", "[plan]\ncapacity = 3\n"), encoding="utf-8")
    with micro.application() as app:
        assert app.base.digest
        app.state.migrate()
    return micro


def run_machine(template: Micro, examples: int, steps: int) -> None:
    machine = type("Machine", (Decisions,), {"template": template})
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=quiet,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
        ),
    )


def test_no_history_undoes_a_decision(template: Micro) -> None:
    run_machine(template, examples=15, steps=12)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_no_history_of_ten_thousand_undoes_a_decision(template: Micro) -> None:
    run_machine(template, examples=10_000, steps=12)
