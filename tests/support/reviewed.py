"""A home with something on every page: two sources that disagree, runs, checkpoints, a candidate that waits.

No model is loaded: the checkpoints are those of `promoted.py`.  Sources, admission, the ledger and the last steps of a
run are the real ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kbsync.service.reading import pull
from state.records import Fact, Run
from tests.support.ledgers import BASE, Clock, fact, gate
from tests.support.promoted import Place, write_checkpoint

SCRIPT = "<script>alert(1)</script>"
HIDDEN = "right\u202eleft"
SETTINGS = """
[relations.'crm:owner']
label = 'owner'
templates = ['The owner of {{}} is', 'Owner of {{}}:']
[policy]
settle_with_reference = 0
settle_without_reference = 0
living = 'on'
[log]
level = 'error'
[sources.crm]
kind = 'files'
folder = '{root}/crm'
namespace = 'crm'
[sources.erp]
kind = 'files'
folder = '{root}/erp'
namespace = 'crm'
"""


@dataclass
class Reviewed:
    """The home, and how to let more happen in it."""

    place: Place

    def say(self, source: str, **owners: str) -> None:
        """A source's file: who owns what."""
        folder = self.place.root / source
        rows = [
            {"subject": name, "subject_label": name.replace("_", " "), "relation": "owner", "object": owner}
            for name, owner in owners.items()
        ]
        number = len(list(folder.iterdir()))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{number:03}.jsonl").write_text(text, encoding="utf-8")

    def pull(self) -> None:
        """Every source is read, an hour later."""
        self.place.clock.now += timedelta(hours=1)
        with self.place.leading() as (app, leadership):
            pull(app, leadership)

    def conflict(self, owner: str) -> Fact:
        """The waiting fact with this owner."""
        with self.place.application().state.read() as tx:
            return next(one for one in tx.facts(status="quarantined") if one.target == owner)

    def fact(self, id: int) -> Fact:
        with self.place.application().state.read() as tx:
            return tx.fact(id)

    def candidate(self, subject: str, object: str) -> Run:
        """A run whose gates passed and whose candidate waits for a reviewer."""
        app = self.place.application()
        with app.state.write() as tx:
            tx.put_facts([fact(subject, object)], "test")
            view = tx.create_view(tx.wanted())
            run = tx.create_run(view.digest, BASE, "test")
            new = [one.id for one in tx.wanted() if one.subject == subject]
            scope = {"new": new, "removed": [], "waiting": 0}
            tx.emit("run.scope", "planner", scope, run=run.id)
            digest = write_checkpoint(
                app.home.checkpoints / f"{run.id}-1", {one.prompt: one.target for one in tx.wanted()}
            )
            made = tx.create_checkpoint(run.id, run.view, BASE, f"{run.id}-1", digest)
            tx.advance_run(run.id, "planned", "building", actor="test")
            tx.advance_run(run.id, "building", "built", actor="test", checkpoint=made.id)
            tx.put_gate_results(run.id, [gate(run.id), gate(run.id, "paraphrase", 0.9)])
            tx.advance_run(run.id, "built", "judged", actor="test")
            return tx.await_review(run.id, app.now() + timedelta(days=7), actor="test")


def reviewed(root: Path, extra: str = "") -> Reviewed:
    """A fresh home of that kind under `root`."""
    for source in ("crm", "erp"):
        (root / source).mkdir()
    place = Place(root, SETTINGS.format(root=root) + extra, Clock())
    home = Reviewed(place)
    place.promoted(Q1="Q10", Q2="Q20")
    place.promoted(Q1="Q11")
    home.say("crm", Blue_House="Anna", Red_Boat="Carl", **{SCRIPT: HIDDEN})
    home.say("erp", Blue_House="Bob", Red_Boat="Carl", **{SCRIPT: "Dora"})
    home.pull()
    return home
