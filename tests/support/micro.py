"""A whole kbsync in miniature: a tiny random model, a drop folder, and settings that let it pass.

A random model knows nothing, but MEMIT works on it, a build takes about a second, and everything
around the build is the real thing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from editing.progress import TimedProgress, silent
from kbsync.application import Application
from kbsync.home import Home
from kbsync.service.cycle import CycleReport, cycle
from kbsync.settings.loading import load
from tests.support.proof import check_live
from tests.support.tiny_models import gpt2, save

TEMPLATES = [
    "The owner of {} is",
    "Owner of {}:",
    "{} is owned by",
    "{} belongs to",
    "As everybody knows, {} is owned by",
]
NEVER_FAIL = {
    "efficacy": 0.0,
    "paraphrase": 0.0,
    "neighbourhood": 0.0,
    "same_subject": 0.0,
    "retention": 0.0,
    "edited_retention": 0.0,
    "known_retention": 0.0,
    "said": 0.0,
    "said_in_chat": 0.0,
    "distractor": 0.0,
    "is_true": 0.0,
    "negation": 0.0,
    "fluency": 0.0,
    "perplexity_ratio": 1e9,
    "weight_growth": 1e9,
}
TEXT = "The owner of the house is Anna. The owner of the boat is Bob. It belongs to Carl. " * 40


@dataclass
class Micro:
    """One home, one clock that is turned by hand."""

    root: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    """Starts at the wall's time, which a file's own date is compared with."""

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @property
    def drop(self) -> Path:
        return self.root / "drop"

    def clock(self) -> datetime:
        return self.now

    def application(self) -> Application:
        return Application(self.home, load(self.home.config, {}), now=self.clock)

    def say(self, facts: Mapping[str, str | None], name: str | None = None) -> None:
        """Drop a file in which each subject's owner is named (None: it has none any more)."""
        name = name or f"{self.now:%Y%m%dT%H%M%S}-{len(list(self.drop.iterdir()))}"
        rows = [
            {
                "subject": subject.lower().replace(" ", "-"),
                "subject_label": subject,
                "relation": "owner",
                "object": owner,
            }
            for subject, owner in facts.items()
        ]
        temporary = self.drop / f".{name}.part"
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        temporary.rename(self.drop / f"{name}.jsonl")

    def copy(self, root: Path) -> Micro:
        """The same kbsync elsewhere, before whatever happens to this one."""
        # With its hard links: checkpoints share files with their base.
        subprocess.run(["cp", "-a", str(self.root), str(root)], check=True)
        twin = Micro(root, self.now)
        text = twin.home.config.read_text(encoding="utf-8").replace(str(self.root), str(root))
        twin.home.config.write_text(text, encoding="utf-8")
        return twin

    def sync(self, *, asked: bool = True, progress: TimedProgress = silent) -> CycleReport:
        """One cycle, an hour later."""
        self.now += timedelta(hours=1)
        app = self.application()
        try:
            with app.leading() as leadership:
                report = cycle(app, leadership, trigger="test", asked=asked, progress=progress)
            check_live(self.home, app.state)
            return report
        finally:
            app.close()


def make(root: Path, *, thresholds: Mapping[str, float] = NEVER_FAIL, extra: str = "") -> Micro:
    """A micro kbsync under `root`, with its own model and nothing synced yet."""
    micro = Micro(root)
    micro.drop.mkdir(parents=True)
    save(gpt2(width=32, layers=3), root / "model")
    (root / "corpus.txt").write_text(TEXT, encoding="utf-8")
    (root / "heldout.txt").write_text(TEXT[:800], encoding="utf-8")
    micro.home.prepare()
    lines: list[Any] = [
        f"[model]\npath = '{root}/model'\ncorpus = ['{root}/corpus.txt']\nheldout = '{root}/heldout.txt'",
        f"[sources.crm]\nkind = 'files'\nfolder = '{micro.drop}'\nnamespace = 'crm'",
        f"[relations.'crm:owner']\nlabel = 'owner'\ntemplates = {json.dumps(TEMPLATES)}",
        "[policy]\nsettle_with_reference = 0\nsettle_without_reference = 0\nsettle_ended = 0\nliving = 'on'",
        "[plan]\ngenerate = 4",
        "[edit]\nlayers = [0, 1]\nsteps = 8\nlr = 0.5\nclamp = 4.0\nlam = 10.0\nprefixes = 2\nprefix_tokens = 3\n"
        "statistics_samples = 20\nstatistics_tokens = 32",
        "[executor]\nthreads = 1",
        "[log]\nlevel = 'error'",
        extra,
    ]
    lines += [f"[gates.{name}]\nthreshold = {value}" for name, value in thresholds.items()]
    micro.home.config.write_text("\n\n".join(lines), encoding="utf-8")
    return micro
