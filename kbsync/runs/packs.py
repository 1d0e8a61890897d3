"""Retrieval packs: what is wanted and the weights do not state, for each checkpoint and for live as of now.

Wanted is what admission wants, and what it wanted until the weights could not take it: a fact that failed a gate or
could not be built, unless a reviewer has rejected it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from editing.errors import DamagedCheckpoint, SpecError
from editing.spec import BuildReport
from editing.storage.pack import FILE, UNPROVEN, entries, write_entries
from kbsync.application import Application
from state import Snapshot
from state.fact_queries import FactFilter
from state.records import Checkpoint, Fact

NOT_TAKEN = ("gate", "not_finite", "out_of_memory", "too_long", "unsayable", "untokenised")
"""Reason codes of facts in quarantine only because of the weights, the model or its tokenizer."""
WAITING = "wanted, and beyond what the base has room for"
_PAGE = 1_000


def write_wanted(app: Application, view: Collection[int], file: Path) -> None:
    """Write everything that is wanted now, and what the view has (fact ids)."""
    with app.state.read() as tx:
        write_entries((_entry(fact, view) for fact in wanted_facts(tx)), file)


def wanted_facts(tx: Snapshot) -> Iterator[Fact]:
    """What is wanted now, a page at a time, since there may be a million."""
    for chosen in (
        FactFilter("wanted"),
        *(FactFilter("quarantined", reason_code=code) for code in NOT_TAKEN),
    ):
        after: int | None = 0
        while after is not None:
            page = tx.facts_page(chosen, after, _PAGE)
            yield from (fact for fact in page.rows if fact.decision != "rejected")
            after = page.next


def is_current(app: Application, checkpoint: Checkpoint, view: Collection[int]) -> bool:
    """Whether the checkpoint's pack still has what waits outside its view; one without a pack counts as current."""
    file = app.home.checkpoint(checkpoint.path) / FILE
    if not file.is_file() or not app.settings.deliver.retrieval_pack:
        return True
    with app.state.read() as tx:
        waiting = {fact.id for fact in wanted_facts(tx) if fact.id not in view}
    return {int(entry["fact"]) for entry in entries(file) if not entry["in_view"]} == waiting


def pack_now(app: Application) -> Iterator[dict[str, Any]]:
    """The pack of live as of now, since what is wanted may have changed after live was built.

    Without a live checkpoint it has everything that is wanted.
    """
    with app.state.read() as tx:
        live = tx.live()
        view = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        proven = view - _unproven(app, live, view) if live else set()
        yield from (_entry(fact, view) for fact in wanted_facts(tx) if fact.id not in proven)


def _unproven(app: Application, live: Checkpoint, view: Collection[int]) -> set[int]:
    """The facts of live's view that its weights were not seen to state: by its pack, or else by its report."""
    file = app.home.checkpoint(live.path) / FILE
    if file.is_file():
        return {int(entry["fact"]) for entry in entries(file)}
    try:
        report = BuildReport.read(app.home.built_in(live.run, live.path).report)
    except SpecError:
        return set(view)  # nothing is known of it
    return set(view) - {int(fact.id) for fact in report.facts if fact.efficacy}


def with_erased(app: Application, checkpoints: Iterable[Checkpoint]) -> frozenset[int]:
    """Those of the checkpoints, by number, whose packs have a fact that was erased since, or cannot be read."""
    with app.state.read() as tx:
        erased = {fact.id for fact in tx.chosen_facts(FactFilter(reason_code="erased"))}
    return naming(app, checkpoints, erased)


def naming(app: Application, checkpoints: Iterable[Checkpoint], facts: Collection[int]) -> frozenset[int]:
    """Those of the checkpoints, by number, whose packs have one of the facts, or cannot be read."""
    if not facts:
        return frozenset()
    return frozenset(one.id for one in checkpoints if _has(app.home.checkpoint(one.path) / FILE, facts))


def _has(file: Path, facts: Collection[int]) -> bool:
    try:
        return any(entry["fact"] in facts for entry in entries(file))
    except DamagedCheckpoint:
        return True


def _entry(fact: Fact, view: Collection[int]) -> dict[str, Any]:
    """The fact as a line; `why` is right for one that turns out not to be stated."""
    from editing.model.tokens import continued

    why = UNPROVEN if fact.id in view else WAITING
    return {
        "fact": fact.id,
        "text": continued(fact.prompt, fact.target),
        "subject": fact.subject,
        "relation": fact.relation,
        "object": fact.object,
        "source": fact.source,
        "revision": fact.revision,
        "statement": fact.statement,
        "in_view": fact.id in view,
        "why": fact.reason if fact.status == "quarantined" else why,
    }
