"""docs/state.md says what the code does: its tables are compared, its verifier is run."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from state import State, seals
from state.records import DeploymentState, FactStatus, RunState
from state.runs import NEXT
from state.tables import LedgerTable
from tests.support.ledgers import fact
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "state.md").read_text()


def test_every_table_is_described() -> None:
    assert [name for name in LedgerTable.metadata.tables if f"`{name}`" not in PAGE] == []


def test_what_has_no_seal_is_listed_with_the_reason() -> None:
    section = PAGE.partition("These are not sealed:\n\n")[2].partition("\n\n")[0]
    listed = {name for line in section.splitlines() for name in re.findall(r"`([\w.]+)`", line.split("|")[1])}
    columns = {f"{table}.{column}" for table, left_out in seals.LEFT_OUT.items() for column in left_out}
    assert listed == seals.UNSEALED | columns


def test_the_transitions_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("A run advances only")[2], re.M)
    told = {from_: tuple(re.findall(r"`(\w+)`", to)) for from_, to in rows if from_ in get_args(RunState)}
    assert {from_: set(ways) for from_, ways in told.items()} == {
        from_: set(ways) for from_, ways in NEXT.items() if ways
    }
    assert all(
        f"`{name}`" in PAGE or f" {name}" in PAGE
        for name in get_args(DeploymentState) + get_args(FactStatus)[2:3]
    )


def test_the_verifier_of_the_page_finds_the_first_changed_line(state: State) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "first_bad" in block)
    scope: dict[str, object] = {}
    exec(code, scope)
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{number}", reason="Ö") for number in range(8)], "x")
    out = io.StringIO()
    state.audit.export_jsonl(out)
    lines = out.getvalue().splitlines()
    first_bad = scope["first_bad"]
    assert first_bad(lines) is None  # type: ignore[operator]
    lines[4] = lines[4].replace("wd:Q4", "wd:Q5")
    assert first_bad(lines) == 5  # type: ignore[operator]
    assert first_bad(lines[:3] + lines[4:]) == 4  # type: ignore[operator]


@pytest.mark.postgres
def test_a_dump_restored_into_an_empty_database_is_the_same_ledger(new_url, tmp_path: Path) -> None:
    from pgserver._commands import POSTGRES_BIN_PATH

    url = new_url("postgres")
    state = State.open(url)
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{number}") for number in range(5)], "x")
    anchor = state.audit.anchor()
    dump = tmp_path / "kbsync.dump"
    subprocess.run([POSTGRES_BIN_PATH / "pg_dump", "--format=custom", f"--file={dump}", url], check=True)
    with state.write() as tx:
        tx.put_facts([fact("wd:Q9")], "x")
    later = state.audit.anchor()
    state.close()

    restored = State.open(emptied := new_url("postgres"))
    restored.downgrade("base")
    with restored.write() as tx:
        tx.connection.exec_driver_sql("DROP TABLE alembic_version")
    subprocess.run([POSTGRES_BIN_PATH / "pg_restore", f"--dbname={emptied}", dump], check=True)
    restored.check_migrated()
    assert restored.audit.verify(anchor).ok
    assert restored.audit.verify(later).first_bad == 6, "what came after the backup is gone, and that shows"
    with pytest.raises(Exception, match="append-only"), restored.write() as tx:
        tx.connection.exec_driver_sql("DELETE FROM events")
    restored.close()
