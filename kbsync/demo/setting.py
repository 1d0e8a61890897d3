"""The demo's home: a settings file as a user would write it, and a clock that can be set forward."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

from kbsync.demo.world import PREFIXES, DemoWorld
from kbsync.errors import UsageError
from kbsync.home import Home

HERE = Path(__file__).parent
MODEL = HERE / "model"
TEXT = HERE / "text"
MARK = ".demo"
"""A file that marks a home as created by the demo, which may replace it."""


class StoryClock:
    """The clock of the story: it is set forward to let settling times pass without waiting."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def turn_to(self, instant: datetime) -> None:
        if instant < self._now:
            raise ValueError(f"the story goes forward: {instant} lies before {self._now}")
        self._now = instant


def refuse_foreign(home: Home) -> None:
    """Raise UsageError if the home's directory contains files that the demo did not make."""
    if home.root.exists() and any(home.root.iterdir()) and not (home.root / MARK).exists():
        raise UsageError(
            f"{home.root} is not empty and was not made by the demo",
            "name another directory with --home",
        )


def prepare(home: Home) -> None:
    """Create an empty home for the demo; raises UsageError if the directory contains other files."""
    refuse_foreign(home)
    if (home.root / MARK).exists():
        shutil.rmtree(home.root)
    home.prepare()
    (home.root / MARK).write_text("made by `kbsync demo`, which will replace it\n", encoding="utf-8")


def write_settings(home: Home, world: DemoWorld, endpoint: str) -> Path:
    """Write the settings file of the demo's home."""
    measured = measured_settings()
    subjects = " ".join(f"wdt:{relation.removeprefix('wdt:')}" for relation in world.wordings)
    query = (
        "PREFIX wdt: <http://www.wikidata.org/prop/direct/> "
        f"SELECT DISTINCT ?subject WHERE {{ VALUES ?relation {{ {subjects} }} ?subject ?relation ?object }}"
    )
    lines = [
        "# Written by `kbsync demo`. The SPARQL server at this address ends with the demo;",
        "# `kbsync demo --serve` keeps it running.",
        "",
        "[model]",
        f"path = {json.dumps(str(MODEL))}",
        f"corpus = [{json.dumps(str(TEXT / 'corpus.txt'))}]",
        f"heldout = {json.dumps(str(TEXT / 'heldout.txt'))}",
        "",
        "[sources.world]",
        'kind = "wikidata"',
        f"endpoint = {json.dumps(endpoint)}",
        'agent = "kbsync-demo (https://demo.kbsync.example)"',
        f"subjects_query = {json.dumps(query)}",
        f"relations = {json.dumps(list(world.wordings))}",
        f"prefixes = {{ demo = {json.dumps(PREFIXES['demo'])} }}",
        "",
        "[policy]",
        'living = "on"  # the story is about people in office',
        "",
        "[plan]",
        "rounds = 1  # a rejected run stays rejected, so that the story can show it; the rest goes with the next",
        "generate = 200  # every new fact is answered freely",
        f"variants = {measured.pop('variants')}",
        "",
        "[log]",
        'level = "warning"',
        "",
        "[edit]",
        *(f"{key} = {json.dumps(value)}" for key, value in measured.items()),
        "",
    ]
    for relation, table in world.relation_tables().items():
        lines.append(f'[relations."{relation}"]')
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
        lines.append("")
    home.config.write_text("\n".join(lines), encoding="utf-8")
    return home.config


def measured_settings() -> dict[str, object]:
    """Keys of [edit], and `variants` of [plan], measured to be good for the bundled model (benchmarks/testbed)."""
    values: dict[str, object] = json.loads((MODEL / "kbsync-edit.json").read_text(encoding="utf-8"))
    return values
