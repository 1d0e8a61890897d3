"""Gate commands: a program of the operator measures the candidate, and its failure is that of its gates only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.application import Application
from kbsync.errors import BadConfiguration
from kbsync.executor import Stopping
from kbsync.leadership import Leadership
from kbsync.runs.gate_commands import CommandResults, Directories, measure
from kbsync.service.cycle import CycleReport, cycle
from kbsync.settings.gates import gates_in_force
from state.records import GateResult
from tests.support.micro import Micro, make
from tests.support.proof import check_live
from tests.support.scripted import Scripted

GATE = "[gate_commands.safety.gates.refusals]\nthreshold = 0.9\nexplains = 'prompts that are refused as before'\n"


def world(root: Path, script: str, *, gate: str = GATE, timeout: str = "60s") -> Micro:
    """A world whose candidates are measured by a shell script."""
    command = json.dumps(["/bin/sh", "-c", script, "sh", "{candidate}", "{live}", "{base}"])
    extra = (
        "[gates.weight_growth]\nthreshold = 9.0\n\n"
        f"[gate_commands.safety]\ncommand = {command}\ntimeout = '{timeout}'\n\n"
    )
    return make(root / "world", thresholds={}, extra=extra + gate)


def synced(micro: Micro, owner: str) -> CycleReport:
    micro.now += timedelta(hours=1)
    micro.say({"Blue House": owner})
    with micro.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", asked=True, worker=Scripted())
        check_live(app.home, app.state)
    return report


def verdict(micro: Micro, run: int, name: str = "refusals") -> GateResult:
    with micro.application() as app, app.state.read() as tx:
        (found,) = [result for result in tx.gate_results(run) if result.name == name]
    return found


def test_a_candidate_that_the_program_finds_good_goes_live_with_its_figure_in_the_ledger(
    tmp_path: Path,
) -> None:
    micro = world(tmp_path, """echo '{"refusals": {"value": 0.95, "n": 20, "k": 19}, "unasked": 1}'""")
    (run,) = synced(micro, "Anna").runs
    assert run.state == "deployed"
    found = verdict(micro, run.id)
    assert (found.value, found.n, found.passed) == (0.95, 20, True)


def test_a_candidate_that_the_program_finds_bad_is_rejected_and_the_reason_says_what_to_do(
    tmp_path: Path,
) -> None:
    micro = world(tmp_path, """echo '{"refusals": 0.5}'""")
    (run,) = synced(micro, "Anna").runs
    assert run.state == "rejected"
    assert "refusals 0.5" in run.reason
    assert "kbsync rebuild" in run.reason


def test_a_sample_is_judged_by_its_bound(tmp_path: Path) -> None:
    micro = world(tmp_path, """echo '{"refusals": {"value": 0.95, "n": 20, "k": 19, "sampled": true}}'""")
    (run,) = synced(micro, "Anna").runs
    found = verdict(micro, run.id)
    assert not found.passed
    assert "bound of a sample of 20" in found.detail


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo the list is missing >&2; exit 3", "ended with status 3: the list is missing"),
        ("exec 2>&-; kill -9 $$", "ended with status -9"),
        ("echo no JSON", "gate command"),
        ("echo '[1]'", "docs/gates.md"),
        ("""echo '{"refusals": "many"}'""", "refusals"),
        ("""echo '{"refusals": NaN}'""", "refusals"),
        ("""echo '{"refusals": {"value": 1, "share": 2}}'""", "refusals"),
        ("""echo '{"refusals": 1, "refusals": 0}'""", "refusals"),
        ("echo '{}'", "the gate command 'safety' did not print it"),
        ("head -c 200000 /dev/zero", "gate command"),
    ],
)
def test_a_program_that_measures_nothing_fails_its_gate_and_says_why(
    script: str, says: str, tmp_path: Path
) -> None:
    micro = world(tmp_path, script)
    (run,) = synced(micro, "Anna").runs
    assert run.state == "rejected"
    found = verdict(micro, run.id)
    assert not found.passed
    assert found.detail.startswith("not measured: ")
    assert says in found.detail


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    micro = world(tmp_path, f"sleep 3600 & echo $! > {tmp_path}/child; wait", timeout="1s")
    (run,) = synced(micro, "Anna").runs
    assert "was killed after 1 s" in verdict(micro, run.id).detail
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_program_sees_the_directories_and_nothing_of_the_daemons_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    seen = tmp_path / "seen"
    script = f"""printf '%s|%s|%s\\n' "$1" "$2" "$3" >> {seen}; env >> {seen}.env; echo '{{"refusals": 1}}'"""
    micro = world(tmp_path, script)
    assert [run.state for owner in ("Anna", "Bob") for run in synced(micro, owner).runs] == ["deployed"] * 2
    first, second = (line.split("|") for line in seen.read_text().splitlines())
    assert first[1] == ""
    assert second[1] == first[0], "the first candidate is live by the second run"
    assert all(Path(path, "config.json").exists() for path in (*first[::2], *second))
    environment = Path(f"{seen}.env").read_text()
    assert f"KBSYNC_CANDIDATE={second[0]}" in environment
    assert "hunter2" not in environment


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[tuple[Application, Leadership, Path]]:
    """An application whose gate command counts how often it was started."""
    counter = tmp_path / "started"
    micro = world(
        tmp_path, f"""echo x >> {counter}; [ "$1" = slow ] && sleep 3600; echo '{{"refusals": 1}}'"""
    )
    with micro.application() as app, app.leading() as leadership:
        yield app, leadership, counter


def started(counter: Path) -> int:
    return len(counter.read_text().splitlines())


def test_after_a_restart_the_same_candidate_is_not_measured_again(
    leading: tuple[Application, Leadership, Path], tmp_path: Path
) -> None:
    app, leadership, counter = leading
    directories, kept = Directories(tmp_path, None, tmp_path), tmp_path / "kept.json"
    first = measure(app, leadership, directories, "a", kept)
    assert measure(app, leadership, directories, "a", kept) == first
    assert started(counter) == 1
    measure(app, leadership, directories, "b", kept)
    assert started(counter) == 2, "another candidate"
    kept.write_text('{"candidate": "b", "commands": {"safety": 3}}')
    assert measure(app, leadership, directories, "b", kept).commands["safety"].measures["refusals"].value == 1
    assert started(counter) == 3, "what cannot be read was not measured"
    assert CommandResults.model_validate_json(kept.read_bytes()).candidate == "b"


def test_sigterm_ends_the_program_and_the_next_start_runs_it_again(
    leading: tuple[Application, Leadership, Path], tmp_path: Path
) -> None:
    app, leadership, counter = leading

    def stop() -> None:
        while not counter.exists():
            pass
        app.stopping.set()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopping):
        measure(app, leadership, Directories(Path("slow"), None, tmp_path), "a", tmp_path / "kept.json")
    app.stopping.clear()
    measure(app, leadership, Directories(tmp_path, None, tmp_path), "a", tmp_path / "kept.json")
    assert started(counter) == 2


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (GATE.replace("refusals", "efficacy"), r"\[gate_commands\.safety\.gates\.efficacy\]: another gate"),
        (GATE.replace("refusals", "'Re fusals'"), "is not the name of a gate"),
        (GATE.replace("threshold", "treshold"), "threshold"),
        ("[gate_commands.safety.gates]\n", "at least 1"),
        (
            GATE + "[gate_commands.other]\ncommand = ['{run}']\n" + GATE.replace("safety", "other"),
            "{run} is not one of",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_place(gate: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=says), world(tmp_path, "true", gate=gate).application() as app:
        gates_in_force(app.settings.gates, app.settings.gate_commands)


def test_what_decides_a_candidate_changes_with_the_command(tmp_path: Path) -> None:
    micro = world(tmp_path, """echo '{"refusals": 0.5}'""")
    assert [run.state for run in synced(micro, "Anna").runs] == ["rejected"]
    with micro.application() as app, app.leading() as leadership:
        again = cycle(app, leadership, trigger="test", asked=True, worker=Scripted())
    assert again.runs == (), "the same view is not built again under the same settings"
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("0.5}", "1.0}"), encoding="utf-8")
    with micro.application() as app, app.leading() as leadership:
        again = cycle(app, leadership, trigger="test", asked=True, worker=Scripted())
    assert [run.state for run in again.runs] == ["deployed"]
