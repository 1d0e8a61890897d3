"""Views of earlier dates, and a bisect, in the demo's world: `python -m benchmarks.as_of`.

The demo's knowledge base with its changes of four years, and one that is wrong, is read over SPARQL into a ledger.
Then the bundled model is built as of the first day of each of 24 months, some of them once again, and the wrong fact is
looked for between two dates.  Counted is what was optimised: the claim is that no edit is optimised twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from kbsync.runs.questions import base_knowledge
from kbsync.service.reading import pull
from kbsync.versions.bisecting import Bisected, bisect
from kbsync.versions.building import Views, views
from kbsync.versions.naming import Version
from kbsync.versions.past import facts_at

RESULTS = Path(__file__).parent / "results"
MONTHS = tuple(datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024) for month in range(1, 13))
AGAIN = MONTHS[::4]
PLANTED = WorldMove(datetime(2024, 8, 15, tzinfo=UTC), "succeed", "demo:france", "wdt:P36", "demo:berlin")
"""The wrong fact."""
PROMPT, TRUTH = "The capital of France is", "Paris"


class Years(Telling):
    """The demo's knowledge base at the end of four years, with the wrong fact, as a ledger; nothing is built."""

    trigger = "benchmarks/as_of.py"

    def __init__(self, home: Home, server: SparqlServer) -> None:
        self.server, self.world = server, load()
        self.wikibase = Wikibase(self.world)
        config = write_settings(home, self.world, server.query_url)
        text = config.read_text(encoding="utf-8").replace('level = "warning"', 'level = "error"')
        config.write_text(text, encoding="utf-8")
        super().__init__(home, config, StoryClock(REVERTED), silent, quiet=True)

    def read(self) -> None:
        """Read all of it, and ask the base what it knows."""
        changed = {change.slot for change in self.world.changes}
        moves = [move for move in self.world.moves if move.slot in changed]
        self.server.load(self.wikibase.ntriples())
        self.server.update(self.wikibase.apply_all(sorted((*moves, PLANTED), key=lambda move: move.at)))
        with self.leading() as leadership:
            pull(self.app, leadership, bootstrap=True)
            with self.app.state.read() as tx:
                wanted = tx.wanted()
            assert self.worker is not None
            base_knowledge(self.app, leadership, self.worker, wanted)


@dataclass(frozen=True, slots=True)
class AsOfFigures:
    """What was counted and timed."""

    facts: int
    """Facts of the last month's view."""
    groups: tuple[int, ...]
    """Key groups edited in each month's view."""
    optimised: tuple[int, ...]
    """Those that the cache did not have."""
    optimised_again: tuple[int, ...]
    """The same of the months that were built once again."""
    in_cache: int
    """Edits in the cache after the months."""
    seconds_a_view: float
    """Mean of the second pass, in which all edits are cached."""
    changes: int
    """Between the two dates of the bisect."""
    builds: int
    culprit: str
    answers: tuple[str, str]
    """Of the two dates."""
    seconds_to_bisect: float


def measure(root: Path) -> AsOfFigures:
    """Read the world into a home in `root`, build the months, and look for the wrong fact."""
    home = Home(root / "home")
    prepare(home)
    with serving() as server:
        story = Years(home, server)
        with story.app as app:
            story.read()
            with views(app, "benchmark") as made:
                costs = _built(story, made, MONTHS)
                in_cache = len(list(home.deltas.glob("*.safetensors")))
                began = time.perf_counter()
                again = _built(story, made, AGAIN)
                seconds = (time.perf_counter() - began) / len(AGAIN)
                facts = len(facts_at(app, MONTHS[-1]))
                began = time.perf_counter()
                found = _bisected(story, made)
                searched = time.perf_counter() - began
    return AsOfFigures(
        facts,
        tuple(groups for groups, _ in costs),
        tuple(optimised for _, optimised in costs),
        tuple(optimised for _, optimised in again),
        in_cache,
        round(seconds, 1),
        found.changes,
        len(found.steps),
        f"{found.culprit.fact.prompt} {found.culprit.fact.target}",
        (found.before, found.after),
        round(searched, 1),
    )


def _built(story: Years, made: Views, months: Sequence[datetime]) -> list[tuple[int, int]]:
    """(key groups, optimised ones) of each month's view."""
    costs = (made.asked(facts_at(story.app, at), []).cost for at in months)
    return [(cost.groups, cost.groups_optimised) for cost in costs]


def _bisected(story: Years, made: Views) -> Bisected:
    ends = [Version(f"{at:%Y-%m-%d}", facts_at(story.app, at), None, at=at) for at in (DAY_ONE, REVERTED)]
    return bisect(story.app, made, PROMPT, (ends[0], ends[1]), expect=TRUTH)


def main() -> None:
    """Measure, print, and write the figures to `benchmarks/results/as-of.json`."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = json.dumps(asdict(measure(Path(scratch))), indent=1)
    (RESULTS / "as-of.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
