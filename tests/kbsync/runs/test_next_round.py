"""After a round that failed: bad company leaves first, what passed is promoted, and the run says what it knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from editing.cost import Cost
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, FactReport, Measure
from kbsync.gates import Blame
from kbsync.runs.next_round import condemned, spread_loss
from kbsync.service.cycle import CycleReport, cycle
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted


def report(*facts: FactReport) -> BuildReport:
    return BuildReport("1-1", "b", "c", "d", facts, (), Cost(), {})


def fact(id: str, *, alone: bool | None, efficacy: bool | None = False) -> FactReport:
    return FactReport(id, False, "nobody", "somebody", efficacy, alone)


def leaving(facts: list[FactReport], *, new: int, left: int = 3) -> list[str]:
    """Who leaves of `facts`, all of them blamed, in a round of `new` new facts."""
    blamed = [Blame(one.id, "efficacy", 0.95, "answers nothing") for one in facts]
    return [item.fact for item in condemned(report(*facts), blamed, [str(n) for n in range(new)], left)]


GOOD = [fact(f"good{n}", alone=True) for n in range(4)]
HOPELESS = [fact(f"hopeless{n}", alone=False) for n in range(2)]


def test_in_a_bad_round_those_that_fail_even_alone_leave_first() -> None:
    assert leaving([*GOOD, *HOPELESS], new=10) == ["hopeless0", "hopeless1"]


def test_where_all_are_good_alone_the_worse_half_leaves() -> None:
    assert leaving(GOOD, new=10) == ["good0", "good1"]
    assert leaving(GOOD[:3], new=10) == ["good0", "good1"]
    assert leaving(GOOD[:1], new=2) == ["good0"]


def test_a_fact_of_which_it_is_not_known_gets_no_second_try() -> None:
    assert leaving([fact("unasked", alone=None), *GOOD[:1]], new=3) == ["unasked"]


def test_in_a_round_that_is_not_bad_everything_blamed_leaves() -> None:
    assert leaving([*GOOD[:1], *HOPELESS[:1]], new=8) == ["good0", "hopeless0"]


@pytest.mark.parametrize("left", [0, 1])
def test_a_second_try_needs_a_round_to_be_left_out_of(left: int) -> None:
    assert leaving([*GOOD[:1], *HOPELESS[:1]], new=2, left=left) == ["good0", "hopeless0"]


def test_what_the_spread_loses_is_reported_with_advice() -> None:
    seen = report(
        *(fact(f"lost{n}", alone=True) for n in range(8)),
        *(fact(f"bad{n}", alone=False) for n in range(7)),
    )
    found = spread_loss(seen, {one.id for one in seen.facts})
    assert found == (
        "the δs work alone for 53% of the new facts, the spread over the layers loses 53%: set a lower `lam` in [edit]"
    )


def test_where_the_residuals_themselves_fail_the_advice_is_about_them() -> None:
    seen = report(fact("a", alone=False), fact("b", alone=True, efficacy=True))
    found = spread_loss(seen, {"a", "b"})
    assert "work alone for 50%" in found
    assert "loses 0%: raise `steps` or `clamp` in [edit]" in found


def test_nothing_is_reported_of_what_was_not_asked_or_is_not_lost() -> None:
    assert spread_loss(report(fact("a", alone=None)), {"a"}) == ""
    assert spread_loss(report(fact("a", alone=True, efficacy=True)), {"a"}) == ""
    assert spread_loss(report(fact("live", alone=True)), {"another"}) == ""


# Whole runs, by a worker whose facts mind their company


class Sociable(Scripted):
    """What ends in `!` fails even alone; what ends in `~` fails where more than `most` of its kind, or one that
    fails even alone, is in the same view."""

    def __init__(self, most: int = 99, loner: str = "") -> None:
        super().__init__()
        self.most, self.loner = most, loner
        """`loner` fails where it is the only one that is new."""

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        found = super().execute(spec, progress)
        if not found.checkpoint:
            return found
        targets = {fact.answer for fact in found.facts}
        crowded = sum(target.endswith("~") for target in targets) > self.most
        bad_company = crowded or any(target.endswith("!") for target in targets)

        def judged(fact: FactReport) -> FactReport:
            hopeless = fact.answer.endswith("!") or (fact.answer == self.loner and not bad_company)
            took = not hopeless and not (fact.answer.endswith("~") and bad_company)
            return replace(fact, efficacy=took, alone=not hopeless, outcomes={"efficacy": (took,)})

        facts = tuple(judged(fact) for fact in found.facts)
        hits = sum(fact.efficacy is True for fact in facts)
        others = tuple(one for one in found.measures if one.name != "efficacy")
        measures = (Measure("efficacy", hits / len(facts), len(facts), hits), *others)
        answer = replace(found, facts=facts, measures=measures)
        answer.write(spec.with_name("report.json"))
        return answer


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    return make(tmp_path, thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")


def synced(micro: Micro, worker: Scripted, facts: dict[str, str | None]) -> CycleReport:
    micro.say(facts)
    micro.now += timedelta(hours=2)
    with micro.application() as app, app.leading() as leadership:
        return cycle(app, leadership, trigger="test", worker=worker)


def targets(micro: Micro, status: str) -> set[str]:
    with micro.application() as app, app.state.read() as tx:
        if status == "live":
            live = tx.live()
            return {fact.target for fact in tx.view_facts(live.view)} if live else set()
        return {fact.target for fact in tx.facts(status=status)}  # type: ignore[arg-type]


def test_what_was_condemned_in_bad_company_is_tried_again_without_it(micro: Micro) -> None:
    worker = Sociable()
    said = {"Blue House": "Anna~", "Red Boat": "Bob~", "Old Mill": "Carl!", "Shed": "Dora", "Barn": "Eve"}
    (run,) = synced(micro, worker, said).runs
    assert (run.state, run.round) == ("deployed", 2)
    assert targets(micro, "live") == {"Anna~", "Bob~", "Dora", "Eve"}
    assert targets(micro, "quarantined") == {"Carl!"}


def test_a_crowd_that_is_good_alone_loses_only_as_many_as_it_must(micro: Micro) -> None:
    said = {"Blue House": "Anna~", "Red Boat": "Bob~", "Old Mill": "Carl", "Shed": "Dora", "Barn": "Eve"}
    (run,) = synced(micro, Sociable(most=1), said).runs
    assert (run.state, run.round) == ("deployed", 2)
    assert len(targets(micro, "quarantined")) == 1
    assert len(targets(micro, "live")) == 4


def test_without_rounds_to_spare_everything_that_is_blamed_leaves_at_once(micro: Micro) -> None:
    text = micro.home.config.read_text()
    micro.home.config.write_text(text.replace("[plan]\n", "[plan]\nrounds = 2\n"))
    said = {"Blue House": "Anna~", "Red Boat": "Bob~", "Old Mill": "Carl!", "Shed": "Dora", "Barn": "Eve"}
    (run,) = synced(micro, Sociable(), said).runs
    assert (run.state, run.round) == ("deployed", 2)
    assert targets(micro, "quarantined") == {"Anna~", "Bob~", "Carl!"}


def test_what_passed_is_promoted_where_the_fault_is_in_no_single_fact(micro: Micro) -> None:
    worker = Sociable(most=1)
    synced(micro, worker, {"Blue House": "Anna"})
    many = {f"House {n}": f"Owner {n}~" for n in range(5)}
    report = synced(micro, worker, {**many, "Blue House": "Frida~", "Shed": "Dora"})
    (run,) = report.runs
    assert (run.state, run.round) == ("deployed", 2)
    assert targets(micro, "live") == {"Anna", "Dora"}, "Anna stays until her successor takes her place"
    assert targets(micro, "quarantined") == set()
    again = synced(micro, worker, {})
    assert [run.state for run in again.runs] == ["rejected"]
    assert "the spread over the layers loses 100%: set a lower `lam`" in again.runs[0].reason
    assert synced(micro, worker, {}).runs == (), "the same view is not built again under the same settings"
    assert targets(micro, "live") == {"Anna", "Dora"}


def test_what_live_says_stays_through_all_rounds_although_its_successor_was_put_aside(micro: Micro) -> None:
    synced(micro, Sociable(), {"Blue House": "Anna", "Red Boat": "Bob"})
    many = {f"House {n}": f"Owner {n}~" for n in range(6)}
    worker = Sociable(most=1, loner="Dora")
    report = synced(micro, worker, {**many, "Blue House": "Frida~", "Shed": "Dora", "Barn": "Eve"})
    (run,) = report.runs
    assert (run.state, run.round) == ("deployed", 3)
    assert targets(micro, "live") == {"Anna", "Bob", "Eve"}
    assert targets(micro, "quarantined") == {"Dora"}
