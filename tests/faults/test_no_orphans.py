"""What was derived from facts never outlives one of them, whatever sources, operators and reviewers do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec
from kbsync.errors import UsageError
from kbsync.runs import promotion
from kbsync.service.cycle import cycle
from tests.support.histories import NUMBER, Histories, imported, run_histories
from tests.support.micro import Micro
from tests.support.related import RELATIONS, relate, report
from tests.support.scripted import Scripted

SUBJECTS = ("Blue House", "Red Boat", "Anna", "Bob")
NEWS = st.dictionaries(
    st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(sorted(RELATIONS))),
    st.sampled_from(["Anna", "Bob", "Cy", "Anna!", None]),
    min_size=1,
    max_size=4,
)


class InfersNothing(Scripted):
    """Edits everything that follows from facts, and states facts about Cy unedited."""

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        super().execute(spec, progress)
        asked, file = BuildSpec.read(spec), spec.with_name("report.json")
        found = BuildReport.read(file)
        follows = {fact.id: fact.consequences for fact in asked.facts}
        known = {fact.id for fact in asked.facts if fact.target == "Cy"}
        facts = tuple(
            replace(
                one,
                known=one.id in known,
                derived=follows[one.id] if asked.mode == "build" and one.id not in known else (),
            )
            for one in found.facts
        )
        found = replace(found, facts=facts)
        found.write(file)
        return found


class Derivations(Histories):
    @initialize(news=NEWS, on_timeout=st.sampled_from(["approve", "reject"]))
    def start(self, news: dict[tuple[str, str], str | None], on_timeout: str) -> None:
        self.begin()
        self.change_settings(on_timeout, 10, reviewed=False)
        self.a_source_says(news)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.let_time_settle_it(self.cycle, reviewed=False)
            with self.state.read() as tx:
                live, wanted = tx.live(), {fact.id for fact in tx.wanted()}
            assert live is None or wanted.issuperset(self.parents(live.run))
            self.finish()

    def cycle(self) -> None:
        self.micro.now += timedelta(hours=1)
        with self.app.leading() as leadership:
            cycle(self.app, leadership, trigger="test", asked=True, worker=InfersNothing())
        self.no_orphan()
        with self.state.read() as tx:
            live = tx.live()
            gone = {fact.id for fact in tx.withdrawn(live.view, live.base)} if live else set()
            waits = bool(tx.runs(state="awaiting_review"))
        assert waits or live is None or gone.isdisjoint(self.parents(live.run)), (
            "it outlives what was withdrawn"
        )

    def no_orphan(self) -> None:
        with self.state.read() as tx:
            live = tx.live()
            stated = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        assert live is None or stated.issuperset(self.parents(live.run)), "it is live without a parent"

    def parents(self, run: int) -> Iterator[int]:
        """The facts from which the statements follow that the last round of a run was edited with."""
        with self.state.read() as tx:
            bodies = [json.loads(event.body) for event in tx.events(run=run, kind="run.derived")]
            last = tx.run(run).round
        for body in bodies:
            if body["round"] == last:
                yield from (parent for one in body["derived"] for parent in one["parents"])

    # What happens

    @rule(news=NEWS)
    def a_source_says(self, news: dict[tuple[str, str], str | None]) -> None:
        self.files += 1
        report(self.micro, f"{self.files:06}", news)
        self.cycle()

    @rule()
    def an_operator_rolls_back(self) -> None:
        with self.app.leading() as leadership, suppress(UsageError):
            promotion.rollback(self.app, leadership, target=None, reason="wrong", actor="ada")
        self.no_orphan()

    @rule(number=NUMBER)
    def an_operator_retracts_what_something_follows_from(self, number: int) -> None:
        self.an_operator_retracts(number)
        self.cycle()

    @rule()
    def time_passes(self) -> None:
        self.micro.now += timedelta(days=3)
        self.cycle()


@pytest.fixture(scope="module")
def related_world(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    return relate(imported(tmp_path_factory.mktemp("related") / "world"), "edit")


def test_no_derived_statement_is_left_without_its_parents(related_world: Micro) -> None:
    run_histories(Derivations, related_world, examples=5, steps=8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_none_is_in_forty_histories(related_world: Micro) -> None:
    run_histories(Derivations, related_world, examples=40, steps=12)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
def test_none_is_in_five_hundred_histories(related_world: Micro) -> None:
    run_histories(Derivations, related_world, examples=500, steps=12)


def test_what_follows_from_a_fact_that_the_base_states_leaves_with_it(
    related_world: Micro, tmp_path: Path
) -> None:
    """Leaving out a fact that the base states changes no weights by itself, and starts no run otherwise."""
    micro = related_world.copy(tmp_path / "world")

    def live() -> tuple[set[str], list[str]]:
        """The facts that live is built from, and what was derived from them."""
        micro.now += timedelta(days=3)
        with micro.application() as app, app.leading() as leadership:
            cycle(app, leadership, trigger="test", asked=True, worker=InfersNothing())
            with app.state.read() as tx:
                checkpoint = tx.live()
                assert checkpoint is not None
                facts = {fact.prompt for fact in tx.view_facts(checkpoint.view)}
                events = tx.events(run=checkpoint.run, kind="run.derived")
                derived = [one["prompt"] for event in events for one in json.loads(event.body)["derived"]]
            app.state.close()
        return facts, derived

    text = micro.home.config.read_text(encoding="utf-8").replace("required = true", "required = false")
    micro.home.config.write_text(text, encoding="utf-8")
    report(micro, "a", {("Blue House", "owner"): "Anna", ("Anna", "boss"): "Cy"})
    facts, derived = live()
    assert facts == {"The owner of Blue House is", "The boss of Anna is"}
    assert "The boss of the owner of Blue House is" in derived
    report(micro, "b", {("Anna", "boss"): None})
    assert live() == ({"The owner of Blue House is"}, ["Anna is the owner of"])
