"""Which fact broke an answer: found in at most log2 n builds, from the cache; and what two versions differ in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.versions.bisecting import bisect, default_ends, search, with_changes
from kbsync.versions.building import views
from kbsync.versions.changes import answer_changes, fact_changes
from kbsync.versions.naming import Version, version
from tests.support.micro import Micro, make
from tests.support.shell import Shell

HOUSES = tuple(
    f"{colour} {thing}" for colour in ("Blue", "Red", "Old") for thing in ("House", "Boat", "Mill")
)
OWNERS = ("Anna", "Bob", "Carl")
PROMPT = "The owner of Blue House is"


@given(st.integers(1, 128), st.data())
def test_a_search_ends_at_a_change_for_the_worse_within_log2_n_looks(n: int, data: st.DataObject) -> None:
    """Whatever the views between answer: also if the answer breaks and heals several times."""
    between = data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))
    good = [True, *between, False]
    looked: list[int] = []

    def is_good(k: int) -> bool:
        looked.append(k)
        return good[k]

    found = search(n, is_good)
    assert good[found - 1]
    assert not good[found]
    assert len(looked) <= ceil(log2(n)) if n > 1 else not looked
    assert not {0, n} & set(looked)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two versions; of the nine changes of the second, two change an owner."""
    micro = make(tmp_path_factory.mktemp("world"))
    config = micro.home.config
    stronger = (
        config.read_text(encoding="utf-8")
        .replace("steps = 8", "steps = 25")
        .replace("lam = 10.0", "lam = 0.1")
    )
    config.write_text(stronger, encoding="utf-8")
    micro.say(dict.fromkeys(HOUSES[:3], "Anna"))
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    micro.say({house: OWNERS[at % 3] for at, house in enumerate(HOUSES)} | {"Blue House": "Bob"})
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


@pytest.fixture
def app(world: Micro) -> Iterator[Application]:
    with world.application() as opened:
        yield opened


def instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def named(app: Application, text: str) -> Version:
    return version(app, text, instant)


def test_a_bisect_ends_at_a_change_after_which_the_answer_is_wrong(app: Application) -> None:
    """A random model states no fact: good is the answer of the version before, whatever it is."""
    before, live = default_ends(app)
    assert before is not None
    assert live is not None
    changes = fact_changes(before, live)
    assert len(changes) == 9
    prompt = "The keeper of Blue House is"
    with views(app, "test") as made:
        found = bisect(app, made, prompt, (before, live))
        assert len(found.steps) <= ceil(log2(len(changes)))
        assert found.optimised == 0, "all edits were cached by the runs"
        at = changes.index(found.culprit)
        views_beside = (with_changes(before.facts, changes[:count]) for count in (at, at + 1))
        (good,), (bad,) = (made.asked(facts, [prompt]).answers for facts in views_beside)
    assert good == found.before == found.expected
    assert bad != good
    assert found.doubt == ""


def test_all_changes_lead_from_one_version_to_the_other(app: Application) -> None:
    before, live = named(app, "1"), named(app, "live")
    changes = fact_changes(before, live)
    assert with_changes(before.facts, changes) == live.facts
    assert {change.kind for change in changes} == {"added", "changed"}
    assert {change.kind for change in fact_changes(live, named(app, "base"))} == {"removed"}
    assert all(change.fact.source == "crm" and change.fact.revision for change in changes)


def test_what_a_bisect_cannot_answer_is_said(app: Application) -> None:
    before, live = named(app, "1"), named(app, "2")
    with views(app, "test") as made:
        with pytest.raises(UsageError, match="does not answer 'Zoe' either"):
            bisect(app, made, PROMPT, (before, live), expect="Zoe")
        with pytest.raises(UsageError, match="have the same facts"):
            bisect(app, made, PROMPT, (live, live))
        with pytest.raises(UsageError, match="names no version"):
            version(app, "yesterday?", instant)
        assert made.tally.builds == 0


def test_answers_that_differ_are_those_of_the_versions(app: Application) -> None:
    before, live = named(app, "base"), named(app, "live")
    changes = fact_changes(before, live)
    with views(app, "test") as made:
        found = answer_changes(app, made, before, live, changes)
        assert made.tally.builds == 0, "both are kept"
        rebuilt = made.asked(live.facts, [one.prompt for one in found.changed])
    assert found.asked == len(changes)
    assert found.changed
    assert [one.after for one in found.changed] == list(rebuilt.answers), "memory and disk answer alike"


def test_the_commands_print_what_was_found(world: Micro, capfd: pytest.CaptureFixture[str]) -> None:
    shell = Shell(world.home, capfd)
    changed = shell.json("diff", "1", "live")
    assert (changed["before"]["checkpoint"], changed["after"]["checkpoint"]) == (1, 2)
    assert len(changed["changes"]) == 9
    assert changed["answers"] is None
    code, out, _ = shell("diff", "1", "live")
    assert code == 0
    assert "Blue House" in out
    found = shell.json("bisect", "The keeper of Blue House is")
    assert found["builds"] == len(found["steps"]) <= 4
    assert found["culprit"]["relation"] == "crm:owner"
    code, _, err = shell("bisect", "The keeper of Blue House is", "--expect", "Zoe")
    assert (code, "--good" in err) == (2, True)
    built = shell.json("build", "--as-of", "2024-01-01", "--time", "ledger")
    assert (built["facts"], built["judged"], built["passed"]) == (0, False, None)
    code, _, err = shell("build", "--as-of", "soon")
    assert (code, "not a point in time" in err) == (2, True)
    (said,) = shell.json("ask", "--as-of", "2024-01-01", "--time", "ledger", "The owner of Blue House is")
    assert said["as_of"] == said["base"] != said["live"]


def test_a_home_at_work_is_left_alone(world: Micro, capfd: pytest.CaptureFixture[str]) -> None:
    with world.home.locked("a daemon"):
        code, _, err = Shell(world.home, capfd)("bisect", PROMPT)
    assert (code, "a daemon" in err) == (75, True)
