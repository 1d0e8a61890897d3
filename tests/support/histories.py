"""What the state machines of whole histories have in common: a home of their own, sources and operators.

A machine names its template (an imported base, nothing stated yet), copies it for every history and says what
one cycle of it is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.intake import quarantine
from state import State
from state.records import Fact
from tests.support.micro import Micro, make

SUBJECTS = ("Blue House", "Red Boat", "Old Mill")
NUMBER = st.integers(0, 5)


class Histories(RuleBasedStateMachine):
    """One history: a copy of the template, an application on it, and what operators do to it."""

    template: Micro

    def begin(self) -> None:
        self.root = Path(mkdtemp(prefix="history-"))
        self.micro = Micro(self.root / "world", self.template.now)
        shutil.copytree(self.template.root, self.micro.root, symlinks=True)
        text = self.template.home.config.read_text(encoding="utf-8")
        self.micro.home.config.write_text(
            text.replace(str(self.template.root), str(self.micro.root)), encoding="utf-8"
        )
        self.files = 0
        self.app: Application = self.micro.application()
        self.base = self.app.base
        self.state: State = self.app.state

    def finish(self) -> None:
        self.app.close()
        shutil.rmtree(self.root)

    def restart(self) -> None:
        """Another process: nothing is remembered but what was written."""
        self.app = self.micro.application()
        self.app.__dict__.update(state=self.state, base=self.base)

    def state_in_a_file(self, news: Mapping[str, str | None]) -> None:
        if news:
            self.files += 1
            self.micro.say(news, name=f"{self.files:06}")

    def change_settings(self, on_timeout: str, capacity: int, *, reviewed: bool) -> None:
        text = self.micro.home.config.read_text(encoding="utf-8")
        text = re.sub(r"on_timeout = '\w+'", f"on_timeout = '{on_timeout}'", text)
        text = re.sub(r"required = \w+", f"required = {str(reviewed).lower()}", text)
        text = re.sub(r"capacity = \d+", f"capacity = {capacity}", text)
        self.micro.home.config.write_text(text, encoding="utf-8")
        self.restart()

    def pick(self, number: int, chosen: Callable[[Fact], bool]) -> Fact | None:
        with self.state.read() as tx:
            found = [fact for fact in tx.facts() if chosen(fact)]
        return found[number % len(found)] if found else None

    def let_time_settle_it(self, cycle: Callable[[], None], *, reviewed: bool) -> None:
        """Nobody blocks a view, everything fits, and three cycles come, three days apart."""
        self.change_settings("approve", 100, reviewed=reviewed)
        self.an_operator_releases_what_was_rolled_back()
        for _ in range(3):
            self.micro.now += timedelta(days=3)
            cycle()

    def live_states_what_is_wanted(self) -> None:
        with self.state.read() as tx:
            live, wanted = tx.live(), {fact.id for fact in tx.wanted()}
            stated = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        assert stated == wanted

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

    @rule()
    def an_operator_releases_what_was_rolled_back(self) -> None:
        with self.state.write() as tx:
            for block in tx.blocked_views():
                tx.release_view(block.view, "right after all", "ada")

    @rule(
        on_timeout=st.sampled_from(["approve", "reject"]), capacity=st.integers(1, 3), reviewed=st.booleans()
    )
    def an_operator_changes_the_settings(self, on_timeout: str, capacity: int, reviewed: bool) -> None:
        self.change_settings(on_timeout, capacity, reviewed=reviewed)


def imported(root: Path) -> Micro:
    """A template: its base is imported, its ledger migrated, and its settings are those that machines change."""
    micro = make(
        root,
        thresholds={},
        extra="[gates.weight_growth]\nthreshold = 9.0\n\n"
        "[review]\nrequired = true\ntimeout = '2d'\non_timeout = 'approve'\n",
    )
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[plan]\n", "[plan]\ncapacity = 100\n"), encoding="utf-8")
    with micro.application() as app:
        assert app.base.digest
        app.state.migrate()
        app.state.close()
    return micro


def run_histories(machine: type[Histories], template: Micro, *, examples: int, steps: int) -> None:
    """So many histories of so many steps each, the same ones every time."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"template": template}),
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
