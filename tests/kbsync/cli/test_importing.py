"""`kbsync import`: a dump becomes wanted facts, whatever interrupts it, and the source's polls go on from there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbsync.application import Application
from kbsync.home import Home
from kbsync.service.reading import pull
from kbsync.settings.loading import load
from state import State
from state.sources import import_cursor
from tests.support.shell import Shell
from tests.support.sparql_server import AGENT, running_oxigraph
from tests.support.wikibase_dump import write
from tests.support.wikibase_world import Claim, World


def countries(count: int) -> World:
    world = World()
    for number in range(1, count + 1):
        claim = Claim(f"Q{10_000 + number}-a", f"Q{number}", references=1)
        world.add(f"Q{10_000 + number}", f"Country {number}", P6=[claim])
    for number in range(1, count + 1):
        world.add(f"Q{number}", f"Leader {number}")
    return world


def facts(state: State) -> dict[str, tuple[str, str, str]]:
    with state.read() as tx:
        return {one.subject: (one.object, one.target, one.status) for one in tx.facts()}


def test_a_watched_part_of_a_dump_becomes_wanted_facts_with_labels(shell: Shell, tmp_path: Path) -> None:
    dump = write(countries(3), tmp_path / "dump.json.gz")
    watch = tmp_path / "watch.txt"
    watch.write_text("Q10001\nwd:Q10003  # with its prefix\n")
    done = shell.json("import", dump, "--watch", watch)
    assert (done["entities"], done["watched"], done["taken_over"], done["already"]) == (6, 2, False, False)
    assert done["intake"]["verdicts"] == {"accept": 2}
    state = shell.state()
    assert facts(state) == {
        "wd:Q10001": ("wd:Q1", "Leader 1", "wanted"),
        "wd:Q10003": ("wd:Q3", "Leader 3", "wanted"),
    }
    state.close()


def test_a_second_import_of_the_same_dump_has_nothing_to_do(shell: Shell, tmp_path: Path) -> None:
    dump = write(countries(3), tmp_path / "dump.json.bz2")
    shell.json("import", dump)
    state = shell.state()
    before = facts(state)
    again = shell.json("import", dump)
    assert (again["already"], again["intake"]["observations"]) == (True, 0)
    assert facts(state) == before
    state.close()


def test_another_watch_list_reads_the_same_dump_again(shell: Shell, tmp_path: Path) -> None:
    dump = write(countries(3), tmp_path / "dump.json")
    for number in (1, 2):
        watch = tmp_path / f"{number}.txt"
        watch.write_text(f"Q1000{number}\n")
        assert shell.json("import", dump, "--watch", watch)["watched"] == 1
    state = shell.state()
    assert set(facts(state)) == {"wd:Q10001", "wd:Q10002"}
    state.close()


def test_the_source_goes_on_from_the_dump(shell: Shell, tmp_path: Path) -> None:
    with running_oxigraph() as oxigraph:
        world = countries(4)
        dump = write(world, tmp_path / "dump.json.gz")
        subjects = [f"wd:Q{10_000 + number}" for number in range(1, 5)]
        shell.settings(
            f'[sources.wikidata]\nkind = "wikidata"\nendpoint = "{oxigraph.endpoint}"\nagent = "{AGENT}"\n'
            f'relations = ["wdt:P6"]\nsubjects = {json.dumps(subjects)}\n'
        )
        assert shell.json("import", dump)["taken_over"] is True
        world.touch("Q10002").claims["P6"] = [Claim("Q10002-b", "Q4", references=1)]
        oxigraph.serve(world)
        app = Application(shell.home, load(shell.home.config, {}))
        reports, unavailable = pull(app, bootstrap=True)
        app.close()
        assert (reports["wikidata"].observations, reports["wikidata"].new, unavailable) == (1, 1, {})
        state = shell.state()
        assert {one: value[0] for one, value in facts(state).items()}["wd:Q10002"] == "wd:Q4"
        state.close()


def test_the_source_has_to_be_one_that_dumps_are_of(shell: Shell, tmp_path: Path) -> None:
    dump = write(countries(1), tmp_path / "dump.json")
    (tmp_path / "drop").mkdir()
    wiki = f'kind = "wikidata"\nendpoint = "http://127.0.0.1:9/"\nagent = "{AGENT}"\nsubjects = ["wd:Q1"]\n'
    shell.settings(f'[sources.crm]\nkind = "files"\nfolder = "{tmp_path / "drop"}"\nnamespace = "crm"\n')
    code, _, err = shell("import", dump, "--source", "crm")
    assert code != 0
    assert "is of kind files" in err
    shell.settings(f"[sources.one]\n{wiki}[sources.two]\n{wiki}")
    code, _, err = shell("import", dump)
    assert code != 0
    assert "one, two" in err
    assert "--source" in err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("missing.json",), 78, "cannot be read"),
        (("page.html",), 65, "not a line of a JSON dump"),
        (("dump.json", "--watch", "empty.txt"), 78, "names no entity"),
        (("dump.json", "--watch", "missing.txt"), 78, "cannot be read"),
    ],
)
def test_what_cannot_be_imported_is_named(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    write(countries(1), tmp_path / "dump.json")
    (tmp_path / "page.html").write_text("<html>404</html>\n")
    (tmp_path / "empty.txt").write_text("")
    typed = [one if one.startswith("--") else tmp_path / one for one in arguments]
    ended, _, err = shell("import", *typed)
    assert (ended, complaint in err) == (code, True), err
    assert str(tmp_path) in err


def test_a_forgotten_source_can_be_imported_again(shell: Shell, tmp_path: Path) -> None:
    dump = write(countries(2), tmp_path / "dump.json")
    shell.json("import", dump)
    assert shell("sources", "forget", "wikidata", "--reason", "begin again")[0] == 0
    assert shell.json("import", dump)["already"] is False


@pytest.mark.slow
def test_killed_at_random_instants_the_same_command_reaches_the_same_ledger(tmp_path: Path) -> None:
    dump = write(countries(12_000), tmp_path / "dump.json.gz")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert started(whole, dump).wait() == 0
    chance = random.Random(17)
    places = set()
    for _ in range(6):
        process = started(cut, dump)
        first = place(cut)
        while process.poll() is None and place(cut) == first:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        places.add(place(cut))
    assert len(places) > 1, "no kill came in the middle"
    assert started(cut, dump).wait() == 0
    assert contents(cut) == contents(whole)
    state = State.open(f"sqlite:///{Home(cut).database}")
    assert state.audit.verify().ok
    state.close()


def started(home: Path, dump: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kbsync", "--home", str(home), "import", str(dump)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "KBSYNC_HOME": str(home)})


def place(home: Path) -> str | None:
    """Where the import is, as far as it was committed."""
    if not Home(home).database.exists():
        return None
    state = State.open(f"sqlite:///{Home(home).database}")
    try:
        with state.read() as tx:
            return tx.cursor(import_cursor("wikidata"))
    except Exception:  # noqa: BLE001  the ledger is being created
        return None
    finally:
        state.close()


def contents(home: Path) -> tuple[object, ...]:
    state = State.open(f"sqlite:///{Home(home).database}")
    with state.read() as tx:
        pairs, _ = tx.watched_page("wikidata", 0, 100_000)
        current = {pair: [one.statements for one in found] for pair, found in tx.current(pairs).items()}
    found = facts(state)
    state.close()
    return len(current), current, found
