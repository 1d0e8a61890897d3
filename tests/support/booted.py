"""A real systemd with the real unit, in namespaces of its own.

The manager is process 1 of a PID namespace, in a control group of its own; what it writes to /etc, /opt, /srv, /tmp and
/var goes to a tmpfs that vanishes with the namespace.  Nothing of the machine is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import REPOSITORY

MANAGER = Path("/lib/systemd/systemd")
GROUPS = Path("/sys/fs/cgroup")
NEEDED = ("unshare", "systemctl", "runuser", "useradd", "mount")
ENTER = ("nsenter", "--mount", "--uts", "--ipc", "--pid", "--cgroup")
STOP_S = 20
SCRIPT = r"""
set -euo pipefail
mount --make-rprivate /
layers=/mnt
mount -t tmpfs none /mnt
for dir in etc opt srv var; do
    mkdir -p "$layers/$dir/upper" "$layers/$dir/work"
    mount -t overlay none -o "lowerdir=/$dir,upperdir=$layers/$dir/upper,workdir=$layers/$dir/work" "/$dir"
done
mkdir -p /opt/kbsync/bin /opt/source /opt/python /opt/packages /srv/world
mount --bind "$REPOSITORY" /opt/source
mount --bind "$PYTHON" /opt/python
mount --bind "$PACKAGES" /opt/packages
cp -a "$WORLD/." /srv/world/
cat > /opt/kbsync/bin/kbsync <<'END'
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/source:/opt/packages
exec /opt/python/bin/python3 -m kbsync "$@"
END
chmod 0755 /opt/kbsync/bin/kbsync /srv/world
mount -t tmpfs none /run
# Others' temporary files are none of this systemd's, which removes what it finds there.
mount -t tmpfs none /tmp
# A kernel is configured by the machine, not by what a test boots.
for tree in /proc/sys /sys; do
    mount --bind "$tree" "$tree"
    mount -o remount,bind,ro "$tree"
done
mount -t tmpfs none /sys/fs/cgroup
if [ "$LAYOUT" = unified ]; then
    mount -t cgroup2 none /sys/fs/cgroup
else
    mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
    mount -t cgroup2 none /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
fi
# Nothing of what boots a machine is started here: only what a test starts.
find /etc/systemd/system -mindepth 1 -maxdepth 1 -exec rm -rf {} +
for unit in /lib/systemd/system/*.target.wants/*; do
    case $unit in *.target) ;; *) ln -sf /dev/null "/etc/systemd/system/$(basename "$unit")" ;; esac
done
mount --make-rshared /
export container=kbsync-test
exec /lib/systemd/systemd --system --unit=basic.target --log-target=console --log-level=notice
"""


def why_not() -> str:
    """Why this machine cannot boot a systemd in namespaces; empty if it can."""
    if os.geteuid() != 0:
        return "only root can boot a systemd in namespaces of its own"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking or not MANAGER.exists():
        return f"this machine lacks {', '.join(lacking) or MANAGER}"
    if not _hierarchies():
        return "this machine's control groups cannot be written"
    probe = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", "--cgroup", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    )
    return "" if probe.returncode == 0 else f"namespaces are not allowed: {probe.stderr.decode().strip()}"


def _hierarchies() -> list[Path]:
    """The roots of the hierarchies in which systemd keeps processes: one, or two where version 1 is mounted too."""
    one = (GROUPS / "cgroup.procs").exists()
    found = [GROUPS] if one else [GROUPS / name for name in ("unified", "systemd")]
    return found if all(os.access(root / "cgroup.procs", os.W_OK) for root in found) else []


class Booted:
    """A systemd that runs, and commands beside it."""

    def __init__(self, manager: subprocess.Popen[bytes], log: Path) -> None:
        self.manager = manager
        self.log = log

    @property
    def init(self) -> int:
        """The process id of the manager, seen from outside: the only child of `unshare`, once there is one."""
        children = Path(f"/proc/{self.manager.pid}/task/{self.manager.pid}/children")
        for _ in range(STOP_S * 10):
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.1)
        raise AssertionError(f"no manager was started: {self.tail()}")

    def run(self, script: str, *, check: bool = True) -> str:
        """The stdout of a shell script that runs where the manager does, as root, in /opt/source."""
        done = subprocess.run(
            [*ENTER, f"--target={self.init}", "--wd=/", "sh", "-euc", f"cd /opt/source\n{script}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
        )
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout}\n{done.stderr}\n{self.tail()}"
        return done.stdout

    def show(self, unit: str, key: str) -> str:
        """One property of a unit."""
        return self.run(f"systemctl show {unit} --property={key} --value").strip()

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@contextmanager
def booted(world: Path, log: Path) -> Iterator[Booted]:
    """Boot a systemd that sees `world` as /srv/world and the repository's code as /opt/kbsync."""
    groups = [root / f"kbsync-{uuid.uuid4().hex[:8]}" for root in _hierarchies()]
    joined = " ".join(str(group) for group in groups)
    enter = f"for group in {joined}; do mkdir $group; echo $$ > $group/cgroup.procs; done"
    environment = {
        "PATH": os.environ["PATH"],
        "REPOSITORY": str(REPOSITORY),
        "PYTHON": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
        "WORLD": str(world),
        "LAYOUT": "unified" if len(groups) == 1 else "both",
    }
    isolate = "exec unshare --fork --pid --mount --uts --ipc --cgroup --kill-child --mount-proc bash -c"
    with open(log, "wb") as output:
        manager = subprocess.Popen(
            ["bash", "-euc", f'{enter}\n{isolate} "$0"', SCRIPT],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Booted(manager, log)
    finally:
        manager.kill()  # unshare takes process 1 with it, and that one everything in its namespace
        manager.wait()
        _remove(groups)


def _remove(groups: list[Path]) -> None:
    for group in groups:
        for folder in sorted(group.rglob("*"), reverse=True) if group.exists() else ():
            if folder.is_dir():
                _remove_when_empty(folder)
        if group.exists():
            _remove_when_empty(group)


def _remove_when_empty(group: Path) -> None:
    """The kernel lets go of a control group a moment after its last process has ended."""
    for _ in range(STOP_S * 10):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
    group.rmdir()
