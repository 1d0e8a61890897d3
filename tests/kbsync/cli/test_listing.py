"""Lists on the command line: a page at a time, with a hint at the next one, also beside JSON."""

from __future__ import annotations

import pytest

from state.paging import Page, filled
from tests.support.ledgers import fact, staged
from tests.support.shell import Shell


def pages(shell: Shell, option: str, *command: object) -> list[list[int]]:
    """The numbers on each page of a list, followed as its hints say."""
    found: list[list[int]] = []
    more: tuple[object, ...] = ()
    while True:
        code, _, err = shell(*command, *more)
        assert code == 0, err
        found.append(
            [one["fact"]["id"] if "fact" in one else one["id"] for one in shell.json(*command, *more)]
        )
        if option not in err:
            return found
        more = (option, err.split(option)[1].split()[0])


def test_what_waits_for_a_person_is_listed_a_page_at_a_time(shell: Shell) -> None:
    state = shell.state()
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{n}", status="quarantined") for n in range(5)], "test")
    state.close()
    assert pages(shell, "--after", "quarantine", "--limit", 2) == [[1, 2], [3, 4], [5]]


def test_what_live_was_edited_with_is_listed_a_page_at_a_time(shell: Shell) -> None:
    state = shell.state()
    lease = state.acquire_lease("test", "test", 60)
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{n}") for n in range(4)], "test")
        tx.promote(staged(tx, "wd:Q9").id, lease)
        live = tx.live()
        assert live is not None
        edits = sorted(one.id for one in tx.view_facts(live.view))
    state.close()
    assert len(edits) == 5
    assert pages(shell, "--after", "edits", "--limit", 2) == [edits[:2], edits[2:4], edits[4:]]


def test_runs_and_checkpoints_are_listed_newest_first_a_page_at_a_time(shell: Shell) -> None:
    state = shell.state()
    lease = state.acquire_lease("test", "test", 60)
    for number in range(3):
        with state.write() as tx:
            tx.promote(staged(tx, f"wd:Q{number}").id, lease)
    state.close()
    for name in ("runs", "checkpoints"):
        assert pages(shell, "--before", name, "--limit", 2) == [[3, 2], [1]]


def test_without_a_live_checkpoint_there_are_no_edits(shell: Shell) -> None:
    assert shell.json("edits") == []


@pytest.mark.parametrize("examined", [1, 3, 100])
def test_a_page_is_filled_however_little_one_part_of_the_list_has(examined: int) -> None:
    """A list of even numbers below 40 that looks through `examined` numbers at a time."""

    def read(start: int | None, limit: int) -> Page[int]:
        after = start or 0
        seen = range(after + 1, min(40, after + 1 + examined))
        found = [one for one in seen if one % 2 == 0][:limit]
        last = found[-1] if len(found) == limit else seen[-1] if seen else 40
        return Page(tuple(found), last if last < 39 else None)

    assert filled(read, None, 5) == Page((2, 4, 6, 8, 10), 10)
    assert filled(read, 30, 50) == Page((32, 34, 36, 38), None)
