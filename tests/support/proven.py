"""A home whose log can prove something: two checkpoints that went live and were served, and a key that signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.cli import main
from state import State
from tests.support.ledgers import Clock, carried, fact, planned


def make(root: Path, empty: Path) -> Path:
    """Two facts live as checkpoint 1, three as checkpoint 2, which a server was seen to serve; a key signs."""
    home = root / "home"
    home.mkdir()
    (home / "kbsync.db").write_bytes(empty.read_bytes())
    state = State.open(f"sqlite:///{home}/kbsync.db", Clock())
    lease = state.acquire_lease("leader", "here", 3_600)
    with state.write() as tx:
        tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "admission")
        for _ in range(2):
            run = carried(tx, planned(tx), "staged")
            assert run.checkpoint is not None
            tx.promote(run.checkpoint, lease, run=run.id, hooks=["vllm"])
            tx.advance_run(run.id, "staged", "promoted", actor="test")
            for row in tx.deployments():
                if row.state == "pending":
                    tx.move_deployment(row.id, "pending", "deploying", actor="test")
                    tx.move_deployment(row.id, "deploying", "deployed", actor="test", observed="v@1")
            tx.put_facts([fact("wd:Q3", "wd:Q7")], "admission")
    state.close()
    assert kbsync(home, "keys", "create") == 0
    return home


def kbsync(home: Path, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home), *map(str, arguments)])
    return int(ended.value.code or 0)
