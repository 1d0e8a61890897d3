"""Pretend changes: what a contributor would write, made in a copy of the packages and tried there.

Each is a list of edits; its test proves that the change works, and that it touches as many files as
CONTRIBUTING.md says.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import REPOSITORY

PACKAGES = ("kbsync", "connectors", "editing", "state")


@dataclass(frozen=True)
class Change:
    """One change: new files, and texts put before an anchor in files that there are."""

    new: dict[str, str] = field(default_factory=dict)
    edits: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """File → (anchor, text that is put in front of it)."""
    check: str = ""
    """Python that fails unless the change works; it may use `tests.support`."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.new, *self.edits)

    def make(self, root: Path) -> None:
        """A copy of the packages with the change."""
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("*.safetensors", "__pycache__")
            shutil.copytree(REPOSITORY / package, root / package, ignore=ignored)
        for name, text in self.new.items():
            (root / name).write_text(text, encoding="utf-8")
        for name, pairs in self.edits.items():
            text = (root / name).read_text(encoding="utf-8")
            for anchor, addition in pairs:
                assert text.count(anchor) == 1, f"{name} has {anchor!r} {text.count(anchor)} times"
                text = text.replace(anchor, addition + anchor)
            (root / name).write_text(text, encoding="utf-8")

    def run(self, root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self.check],
            cwd=root,
            env={"PYTHONPATH": f"{root}:{REPOSITORY}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
