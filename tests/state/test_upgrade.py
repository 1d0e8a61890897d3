"""A ledger written by an older version opens, is migrated, and is what its log says.

`ledger-0002.db.xz`: the ledger of `kbsync demo` at revision 0002, before events had seals; copied, not changed.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from state import State
from state.errors import NotMigrated
from tests.support.paths import REPOSITORY
from tests.support.replay import check
from tests.support.tampering import sql

FIXTURE = REPOSITORY / "tests" / "fixtures" / "ledger-0002.db.xz"
EVENTS = 1512


@pytest.fixture
def older(tmp_path: Path) -> Path:
    file = tmp_path / "kbsync.db"
    file.write_bytes(lzma.decompress(FIXTURE.read_bytes()))
    return file


def test_an_older_ledger_is_migrated_and_everything_in_it_verifies(older: Path) -> None:
    state = State.open(f"sqlite:///{older}")
    with pytest.raises(NotMigrated, match="revision 0002"):
        state.check_migrated()
    state.migrate()
    state.check_migrated()
    check(state)
    with state.read() as tx:
        assert tx.count_runs() == {"deployed": 3, "rejected": 3, "rolled_back": 1}
        live = tx.live()
        assert live is not None
        assert (live.path, sum(tx.count_facts().values())) == ("6-1", 1252)
        assert tx.unlike_log(live) == ""
        assert tx.events(kind="ledger.sealed")
        old = tx.events(limit=EVENTS)
    assert [event.seq for event in old] == list(range(1, EVENTS + 1)), "no event was rewritten"
    state.close()


def test_an_upgraded_ledger_is_written_to_like_any_other(older: Path) -> None:
    state = State.open(f"sqlite:///{older}")
    state.migrate()
    with state.write() as tx:
        (fact, *_) = tx.wanted()
        tx.move_fact(fact.id, "retracted", "no longer true", "ada", expect="wanted")
    check(state)
    state.close()


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ("UPDATE gate_results SET passed = 1, value = 1.0 WHERE passed = 0", "gate_results"),
        ("UPDATE facts SET status = 'retracted' WHERE id = 5", "facts 5"),
        ("UPDATE checkpoints SET digest = 'x' WHERE status = 'live'", "checkpoints"),
        ("UPDATE facts SET target = 'Mallory' WHERE id = 5", "facts 5"),
    ],
)
def test_what_was_changed_before_the_upgrade_is_found_after_it(older: Path, attack: str, named: str) -> None:
    """What an older log means is compared too: the migration's seals do not launder it."""
    sql(older, attack)
    state = State.open(f"sqlite:///{older}")
    state.migrate()
    found = state.audit.verify_tables()
    state.close()
    assert not found.ok
    assert any(str(one).startswith(named) for one in found.differences), found.differences
