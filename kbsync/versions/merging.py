"""Two knowledge bases in one model: a view of what is live in two homes, whose conflicts a person decides.

Both homes edit the same base, so the δ of a fact is the same in either; with a shared cache, none is optimised twice.
The other home's ledger is read and not written, and neither ledger has the merged view: it is built apart from runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from editing.folding import fold
from kbsync.application import Application
from kbsync.errors import BadConfiguration, BadData, UsageError
from kbsync.home import Home
from kbsync.settings.loading import load
from kbsync.standalone.commands import refuse_place
from kbsync.versions.building import BuiltView, Views, built_view
from kbsync.versions.naming import Version
from state.records import Fact

Side = Literal["own", "other"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two facts that one model cannot state both: of one slot, or with one prompt (Eqn. 5)."""

    own: Fact
    other: Fact


@dataclass(frozen=True, slots=True)
class Union:
    """The facts of two versions together."""

    facts: tuple[Fact, ...]
    """Sorted by key.  Where facts conflict, those of the preferred side; of neither without a preference."""
    conflicts: tuple[Conflict, ...]
    agreed: int
    """Facts that both state."""
    from_other: int
    """Facts that only the other home states, or that it is preferred for."""


def united(own: Version, other: Version, prefer: Side | None = None) -> Union:
    """The union of two versions.

    A fact of the other home gets a negative number, since the same number is another fact in this home's ledger.
    """
    by_slot = {(fact.subject, fact.relation): fact for fact in own.facts}
    by_prompt = {fact.prompt_key: fact for fact in own.facts}
    conflicts, agreed, added = [], 0, []
    for fact in other.facts:
        rivals = {
            rival.id: rival
            for rival in (by_slot.get((fact.subject, fact.relation)), by_prompt.get(fact.prompt_key))
            if rival is not None
        }
        differing = [rival for rival in rivals.values() if not _agree(rival, fact)]
        conflicts += [Conflict(rival, fact) for rival in differing]
        if not rivals:
            added.append(fact)
        elif not differing:
            agreed += 1
    kept, preferred = _decided(own.facts, conflicts, prefer)
    taken = [replace(fact, id=-1 - int(fact.key[:15], 16)) for fact in (*added, *preferred)]
    facts = tuple(sorted((*kept, *taken), key=lambda fact: fact.key))
    return Union(facts, tuple(conflicts), agreed, len(taken))


def _agree(one: Fact, other: Fact) -> bool:
    """Whether two facts of one slot or prompt are stated by the same edit."""
    return one.object == other.object or fold(one.target) == fold(other.target)


def _decided(
    own: Sequence[Fact], conflicts: Iterable[Conflict], prefer: Side | None
) -> tuple[list[Fact], list[Fact]]:
    """(this home's facts that stay, the other home's facts that replace the others)."""
    if prefer == "own":
        return list(own), []
    lost = {conflict.own.id for conflict in conflicts}
    won: Mapping[str, Fact] = {conflict.other.key: conflict.other for conflict in conflicts}
    return [fact for fact in own if fact.id not in lost], list(won.values()) if prefer == "other" else []


def undecided(union: Union) -> BadData:
    """The error that says that somebody has to decide the conflicts."""
    first = union.conflicts[0]
    return BadData(
        f"the two homes conflict: {first.own.prompt!r} continues with {first.own.target!r} here "
        f"and with {first.other.target!r} in the other home (conflicts: {len(union.conflicts)})",
        "--prefer own or --prefer other decides them all; or correct one of the sources, and sync",
    )


@contextmanager
def opened(root: Path, config: Path | None = None) -> Iterator[Application]:
    """The other home, to read its ledger.  Raises BadConfiguration if there is none."""
    home = Home(root.expanduser().resolve())
    file = config or (home.config if home.config.is_file() else None)
    settings = load(file)
    if settings.state.url is None and not home.database.exists():
        raise BadConfiguration(
            f"there is no ledger in {home.root}", "name the directory that --home names for the other kbsync"
        )
    with Application(home, settings) as app:
        yield app


def check_bases(app: Application, own: Version, other: Version) -> None:
    """Raise UsageError unless both versions were built from the base that is configured here."""
    for home, version in (("this home", own), ("the other home", other)):
        if version.base not in (None, app.base.digest):
            raise UsageError(
                f"{version.name} of {home} was built from the base {version.base[:12]}, "
                f"and {app.base.digest[:12]} is configured here",
                "only views of one base can be merged: sync both homes with the same [model] path",
            )


def merge(app: Application, views: Views, union: Union, out: Path, *, exam: bool = False) -> BuiltView:
    """Build the union into `out`.  Raises UsageError for a place that cannot be used, or if the two have more facts
    than the base has room for, WorkerFailed, Stopping."""
    refuse_place(out, app.home)
    planned = views.fitting(union.facts)
    if planned.waiting:
        raise UsageError(
            f"together the two homes need {len(planned.waiting)} edits more than [plan] capacity allows",
            "raise `capacity` in [plan] of this home, if `kbsync calibrate` shows that the base has room for them",
        )
    report = views.written(planned.facts, out.absolute(), exam=exam)
    return built_view(app, planned, out.absolute(), report.checkpoint_digest, report, judged=exam)
