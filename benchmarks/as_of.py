"""Views of earlier dates, and a bisect, in the demo's world: `python -m benchmarks.as_of`.

The demo's knowledge base is read over SPARQL into a ledger, and the bundled model is edited with its changes of four
years, among them one that is wrong.  Then the 24 monthly views of 2023 and 2024 are built, once and once again, and the
wrong fact is looked for.  Counted is what was optimised: the claim is that no edit is optimised twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from editing.progress import silent
from kbsync.demo.server import SparqlServer, serving
from kbsync.demo.setting import StoryClock, prepare, write_settings
from kbsync.demo.story import DAY_ONE, REVERTED
from kbsync.demo.telling import Telling
from kbsync.demo.world import Wikibase, load
from kbsync.demo.world.entries import WorldMove
from kbsync.home import Home
from kbsync.versions.bisecting import bisect
from kbsync.versions.building import Views, views
from kbsync.versions.naming import of_checkpoint
from kbsync.versions.past import facts_at

RESULTS = Path(__file__).parent / "results"
MONTHS = tuple(datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024) for month in range(1, 13))
PLANTED = WorldMove(datetime(2024, 8, 15, tzinfo=UTC), "succeed", "demo:france", "wdt:P36", "demo:berlin")
"""The wrong fact."""
PROMPT, TRUTH = "The capital of France is", "Paris"


class Years(Telling):
    """The demo's first act in two runs: what holds in 2021, then all changes up to 2024 and the wrong fact."""

    trigger = "benchmarks/as_of.py"

    def __init__(self, home: Home, server: SparqlServer) -> None:
        self.server, self.world = server, load()
        self.wikibase = Wikibase(self.world)
        config = write_settings(home, self.world, server.query_url)
        text = config.read_text(encoding="utf-8").replace("generate = 200", "generate = 4")
        config.write_text(text.replace('"warning"', '"error"'), encoding="utf-8")
        super().__init__(home, config, StoryClock(DAY_ONE), silent, quiet=True)

    def tell(self) -> None:
        """Until the second version is live."""
        with self.leading() as leadership:
            self.server.load(self.wikibase.ntriples())
            self.sync_until_live(leadership, bootstrap=True)
            changes = [move for move in self.world.moves if move.slot in {c.slot for c in self.world.changes}]
            moves = sorted((*changes, PLANTED), key=lambda move: move.at)
            self.server.update(self.wikibase.apply_all(moves))
            self.clock.turn_to(REVERTED)
            self.sync_until_live(leadership)

    def line(self, text: str) -> None:
        """Print nothing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted and timed."""

    facts: int
    """Different facts of all views."""
    edited: int
    """Key groups of the last view."""
    first: tuple[int, ...]
    """Edits optimised for each month's view."""
    second: tuple[int, ...]
    """The same when all are built once again."""
    in_cache: int
    """Files of edits in the cache afterwards."""
    seconds_a_month: float
    """Mean of the second pass: a view of which all edits are cached."""
    changes: int
    builds: int
    found: str
    bisect_optimised: int
    bisect_seconds: float
    answers: tuple[str, str]


def measure(root: Path) -> Figures:
    """Tell the story in `root`, build every month twice, and look for the wrong fact."""
    home = Home(root / "home")
    prepare(home)
    with serving() as server:
        story = Years(home, server)
        with story.app as app:
            story.tell()
            with views(app, "benchmark") as made:
                facts = {fact.key for month in MONTHS for fact in facts_at(app, month)}
                first = _pass(story, made)
                began = time.perf_counter()
                second = _pass(story, made)
                spent = (time.perf_counter() - began) / len(MONTHS)
                with app.state.read() as tx:
                    before, live = tx.previous(), tx.live()
                assert before is not None
                assert live is not None
                edited = made.asked(facts_at(app, MONTHS[-1]), []).cost.groups
                began = time.perf_counter()
                ends = of_checkpoint(app, before), of_checkpoint(app, live)
                found = bisect(app, made, PROMPT, ends, expect=TRUTH)
                searched = time.perf_counter() - began
            return Figures(
                len(facts),
                edited,
                first,
                second,
                len(list(home.deltas.glob("*.safetensors"))),
                spent,
                found.changes,
                len(found.steps),
                f"{found.culprit.fact.prompt} {found.culprit.fact.target}",
                found.optimised,
                searched,
                (found.before, found.after),
            )


def _pass(story: Years, made: Views) -> tuple[int, ...]:
    return tuple(made.asked(facts_at(story.app, at), []).cost.groups_optimised for at in MONTHS)


def main() -> None:
    """Measure, print, and write the figures to `benchmarks/results/as-of.json`."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch))
    text = json.dumps({name: getattr(found, name) for name in found.__slots__}, indent=1)
    (RESULTS / "as-of.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
