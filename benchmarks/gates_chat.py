"""The part of `benchmarks/gates.py` on a chat model: candidates that are wrong only in a conversation.

A home has the small chat model of `gates_chat_base.py` as its base, and its whole world as facts; then a dozen of them
change.  The run that edits these is judged by the worker's own rounds and by the default gates, like the others.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.gates_chat_base import (
    COMPLETIONS,
    OBJECTS,
    QUESTIONS,
    Known,
    chat_base,
    harmful,
    texts,
    world,
)
from editing.progress import silent
from kbsync.demo.setting import StoryClock, prepare
from kbsync.demo.telling import Telling
from kbsync.gates import DEFAULT_GATES
from kbsync.home import Home, RunDirectory
from state.records import Run

GATES = tuple(
    replace(gate, threshold=3.0) if gate.name == "weight_growth" else gate
    for gate in DEFAULT_GATES
    if gate.name != "fluency"
)
"""The default gates, but for what so small a model cannot show: its matrices are small beside an edit, and it was
taught nothing that follows the end of a text."""
DAY_ONE = datetime(2026, 1, 5, tzinfo=UTC)
CHANGED = 6
COLUMNS = ("subject", "subject_label", "relation", "object", "start")


class ChatNews(Telling):
    """The world is known; then some of it changes."""

    trigger = "benchmarks/gates.py"

    def __init__(self, home: Home) -> None:
        self.folder = home.root / "news"
        super().__init__(home, _write_settings(home, self.folder), StoryClock(DAY_ONE), silent, quiet=True)

    def tell(self) -> Run:
        """The last run."""
        with self.app, self.leading() as leadership:
            self._deliver("known.csv", world(), "2020-01-01")
            self.sync_until_live(leadership, bootstrap=True)
            self._deliver("news.csv", changes(), "2026-01-01")
            self.clock.turn_to(self.clock() + timedelta(days=1))
            self.sync(leadership)
            with self.app.state.read() as tx:
                return tx.runs(limit=1)[0]

    def _deliver(self, name: str, facts: Sequence[Known], since: str) -> None:
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(COLUMNS)
        for one in facts:
            rows.writerow(
                (one.subject.replace(" ", "-"), one.subject, f"chat:{one.relation}", one.object, since)
            )
        (self.folder / name).write_text(text.getvalue(), encoding="utf-8")

    def line(self, text: str) -> None:
        """Print nothing."""


def changes() -> list[Known]:
    """Facts of the world with another object each, about as many buildings."""
    choice = random.Random(0)
    found: dict[str, Known] = {}
    for one in choice.sample(world(), len(world())):
        if one.relation != "emblem" and one.subject not in found and len(found) < CHANGED:
            others = [name for name in OBJECTS[one.relation] if name != one.object]
            found[one.subject] = Known(one.subject, one.relation, choice.choice(others))
    return list(found.values())


def _write_settings(home: Home, folder: Path) -> Path:
    folder.mkdir()
    lines = [text.replace("<|endoftext|>", "") for text in texts()]
    choice = random.Random(1)
    corpus, heldout, refused = (home.root / name for name in ("corpus.jsonl", "heldout.txt", "refused.txt"))
    corpus.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    heldout.write_text(
        " ".join(choice.sample([one for one in lines if "\n" not in one], 200)), encoding="utf-8"
    )
    refused.write_text("\n".join(harmful()), encoding="utf-8")
    parts = [
        "[model]",
        f"path = {json.dumps(str(chat_base()))}",
        f"corpus = [{json.dumps(str(corpus))}]",
        f"heldout = {json.dumps(str(heldout))}",
        "[refusals]",
        f"prompts = {json.dumps(str(refused))}",
        "[sources.news]",
        'kind = "files"',
        f"folder = {json.dumps(str(folder))}",
        'namespace = "chat"',
        SETTINGS,
    ]
    for relation, templates in COMPLETIONS.items():
        parts += [
            f'[relations."chat:{relation}"]',
            f"label = {json.dumps(relation)}",
            'subject_type = "building"',
            f"templates = {json.dumps(templates)}",
            f"questions = {json.dumps(QUESTIONS[relation])}",
        ]
    home.config.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return home.config


SETTINGS = """
[policy.sources.news]
settle_without_reference = "0s"

[plan]
min_pending = 1
rounds = 3
variants = 1
generate = 200

[edit]
layers = [0]
optimiser = "lbfgs"
steps = 30
clamp = 4.0
kl = 0.06
lam = 400.0
weight_decay = 0.0
ridge = 0.02
prefixes = 2

[gates.weight_growth]
threshold = 3.0

[gates.fluency]
enabled = false

[log]
level = "warning"
"""


def play(root: Path) -> RunDirectory:
    """Play the news in a home below `root`; returns the directory of the last run's last round."""
    home = Home(root / "home")
    prepare(home)
    run = ChatNews(home).tell()
    return home.round(run.id, run.round)
