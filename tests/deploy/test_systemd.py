"""The systemd units: how far they are confined, and the daemon under a real systemd, installed as the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.booted import Booted, booted, why_not
from tests.support.micro import Micro, make
from tests.support.paths import REPOSITORY

UNITS = REPOSITORY / "deploy" / "systemd"
PAGE = REPOSITORY / "docs" / "systemd.md"
PATIENCE_S = 120.0
EXPOSURE = 2.0


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="`apt-get install systemd` lets this test run"
)
@pytest.mark.parametrize("unit", ["kbsync.service", "kbsync-serve.service"])
@pytest.mark.parametrize("drop_in", ["", "kbsync.service.d/gpu.conf"])
def test_a_unit_is_confined(unit: str, drop_in: str, tmp_path: Path) -> None:
    text = (UNITS / unit).read_text(encoding="utf-8")
    if drop_in:
        text += (UNITS / drop_in).read_text(encoding="utf-8")
    (tmp_path / unit).write_text(text, encoding="utf-8")
    assert exposure(tmp_path / unit) < EXPOSURE


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="`apt-get install systemd` lets this test run"
)
@pytest.mark.parametrize("unit", ["kbsync.service", "kbsync-serve.service"])
def test_systemd_understands_every_line_of_a_unit(unit: str, tmp_path: Path) -> None:
    text = (UNITS / unit).read_text(encoding="utf-8")
    (tmp_path / unit).write_text(text.replace("/opt/kbsync/bin/kbsync", "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if unit in line] == []


# A real systemd


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    if reason := why_not():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("systemd")
    world = make(root / "world")
    world.say({"Blue House": "Anna"})
    with booted(world.root, root / "log") as system:
        until(lambda: system.run("systemctl show --property=Version --value", check=False).strip())
        install(system, world)
        yield system


def until(done: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.5)


def install(system: Booted, world: Micro) -> None:
    """The page's own commands; only the virtual environment is this checkout's instead of a new one."""
    before, check, start = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = before.splitlines()
    kept = [line for line in lines if "-m venv" not in line and "pip install" not in line]
    assert len(kept) == len(lines) - 2
    system.run("\n".join(kept))
    settings = world.home.config.read_text(encoding="utf-8").replace(str(world.root), "/srv/world")
    settings = settings.replace("level = 'error'", "level = 'info'")
    settings = settings.replace(
        "/srv/world/drop", "/var/lib/kbsync/drop"
    )  # elsewhere the service writes nothing
    (kept_at := world.root / "settings.toml").write_text(
        settings + "\n[deploy.fleet]\nkind = 'webhook'\nurl = 'http://127.0.0.1:9/'\n"
        "observe_url = 'http://127.0.0.1:9/'\ntoken_file = '/run/credentials/kbsync.service/fleet'\n",
        encoding="utf-8",
    )
    system.run(f"cat > /etc/kbsync/kbsync.toml <<'END'\n{kept_at.read_text(encoding='utf-8')}\nEND")
    system.run(
        "cp -a /srv/world/drop /var/lib/kbsync/; chown -R kbsync:kbsync /srv/world /var/lib/kbsync/drop"
    )
    system.run("echo secret > /etc/kbsync/fleet.token; chmod 0600 /etc/kbsync/fleet.token")
    system.run(check.splitlines()[0].replace("config check", "doctor") + " --json || true")
    system.run(
        "mkdir -p /etc/systemd/system/kbsync.service.d; cat > /etc/systemd/system/kbsync.service.d/test.conf <<END\n"
        "[Service]\nLoadCredential=fleet:/etc/kbsync/fleet.token\nWatchdogSec=20\nTimeoutAbortSec=2\n"
        "RestartSec=1\nStandardError=append:/srv/world/daemon.log\nEND"
    )
    system.run(
        start.replace(
            "systemctl enable --now kbsync", "systemctl enable kbsync; systemctl start --no-block kbsync"
        )
    )


def is_active(system: Booted) -> bool:
    return system.show("kbsync", "ActiveState") == "active"


def log_of(system: Booted) -> str:
    return system.run("cat /srv/world/daemon.log")


@pytest.mark.slow
def test_the_daemon_starts_as_the_page_says_and_works_confined(system: Booted) -> None:
    until(lambda: is_active(system))
    assert system.show("kbsync", "User") == "kbsync"
    until(lambda: "daemon.started" in log_of(system))
    pid = system.show("kbsync", "MainPID")
    status = dict(
        line.split(":", 1) for line in system.run(f"cat /proc/{pid}/status").splitlines() if ":" in line
    )
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert system.run(f"cat /proc/{pid}/root/run/credentials/kbsync.service/fleet").strip() == "secret"
    status_command = (
        "runuser -u kbsync -- /opt/kbsync/bin/kbsync --home /var/lib/kbsync --config /etc/kbsync/kbsync.toml "
        "status --json"
    )
    until(lambda: json.loads(system.run(status_command))["facts"].get("wanted"))
    until(lambda: json.loads(system.run(status_command))["live"] is not None)


@pytest.mark.slow
def test_a_daemon_that_is_killed_is_started_again(system: Booted) -> None:
    restarts = int(system.show("kbsync", "NRestarts"))
    system.run("systemctl kill --kill-whom=main --signal=KILL kbsync")
    until(lambda: int(system.show("kbsync", "NRestarts")) > restarts and is_active(system))


@pytest.mark.slow
def test_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again(system: Booted) -> None:
    restarts = int(system.show("kbsync", "NRestarts"))
    system.run("systemctl kill --kill-whom=main --signal=STOP kbsync")  # nothing else would end it
    until(lambda: int(system.show("kbsync", "NRestarts")) > restarts and is_active(system))


@pytest.mark.slow
def test_a_reload_ends_when_the_new_settings_are_in_force(system: Booted) -> None:
    until(lambda: is_active(system))
    starts = log_of(system).count("daemon.started")
    pid = system.show("kbsync", "MainPID")
    system.run("sed -i 's/generate = 4/generate = 5/' /etc/kbsync/kbsync.toml; systemctl reload kbsync")
    until(lambda: log_of(system).count("daemon.started") > starts and is_active(system))
    assert system.show("kbsync", "MainPID") == pid


@pytest.mark.slow
def test_a_wrong_setting_is_not_tried_again_and_again_and_a_stop_is_clean(system: Booted) -> None:
    until(lambda: is_active(system))
    system.run("systemctl stop kbsync")
    assert system.show("kbsync", "Result") == "success"
    assert "daemon.stopped" in log_of(system).splitlines()[-1]
    system.run("echo 'no_such_key = 1' >> /etc/kbsync/kbsync.toml; systemctl start kbsync || true")
    until(lambda: system.show("kbsync", "ActiveState") == "failed")
    assert system.show("kbsync", "ExecMainStatus") == "78"
    assert system.show("kbsync", "NRestarts") == "0"
