"""Read the world's files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from connectors.observations import Rank
from kbsync.demo.world.consistency import check
from kbsync.demo.world.demo_world import DemoWorld, midnight
from kbsync.demo.world.entries import (
    AwkwardCase,
    Do,
    ExpectedVerdict,
    RelationWording,
    Trial,
    TrueChange,
    WorldEntity,
    WorldError,
    WorldFact,
    WorldMove,
)

HERE = Path(__file__).parent


def load(directory: Path = HERE) -> DemoWorld:
    """The world in `directory`; raises WorldError that lists everything that is wrong with it."""
    trials, invented = _trials(directory)
    world = DemoWorld(
        entities=_entities(directory),
        invented=invented,
        wordings=_wordings(directory),
        facts_2021=(*_facts(directory, "facts.tsv"), *_facts(directory, "people.tsv")),
        changes=tuple(_changes(directory)),
        awkward=tuple(_cases(directory)),
        trials=trials,
    )
    if problems := check(world):
        raise WorldError(f"{directory}: " + "; ".join(problems), "correct the files of the demo's world")
    return world


def _rows(path: Path, *columns: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a TSV file with `columns`; cells left out at the end of a line are empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorldError(f"{path} cannot be read: {error}") from error
    header: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        cells = line.split("\t")
        if header is None:
            header = cells
            if tuple(header) != columns:
                raise WorldError(f"{path}, line {number}: columns are {header}, not {list(columns)}")
            continue
        if len(cells) > len(columns):
            raise WorldError(f"{path}, line {number}: {len(cells)} cells, at most {len(columns)} are wanted")
        yield number, cells + [""] * (len(columns) - len(cells))


def _entities(directory: Path) -> dict[str, WorldEntity]:
    path = directory / "entities.tsv"
    found: dict[str, WorldEntity] = {}
    for number, (id, label, type, aliases) in _rows(path, "id", "label", "type", "aliases"):
        if id in found:
            raise WorldError(f"{path}, line {number}: {id} occurs twice")
        found[id] = WorldEntity(id, label, type, tuple(aliases.split("|")) if aliases else ())
    return found


def _facts(directory: Path, name: str) -> Iterator[WorldFact]:
    path = directory / name
    for number, (subject, relation, object, start) in _rows(path, "subject", "relation", "object", "start"):
        since = _day(start, path, number) if start else None
        yield WorldFact(subject, _relation(relation), object, since)


def _changes(directory: Path) -> Iterator[TrueChange]:
    path = directory / "changes.tsv"
    columns = ("date", "subject", "relation", "object", "ended")
    for number, (text, subject, relation, object, ended) in _rows(path, *columns):
        day = _day(text, path, number)
        yield TrueChange(
            day, subject, _relation(relation), object, _day(ended, path, number) if ended else day
        )


def _trials(directory: Path) -> tuple[tuple[Trial, ...], dict[str, WorldEntity]]:
    path = directory / "hopeless.tsv"
    trials: list[Trial] = []
    invented: dict[str, WorldEntity] = {}
    columns = ("kind", "date", "subject", "relation", "object", "label")
    for number, (kind, day, subject, relation, object, label) in _rows(path, *columns):
        if kind not in ("hopeless", "sound") or (kind == "hopeless") != bool(label):
            raise WorldError(f"{path}, line {number}: kind is hopeless (with a label) or sound (without)")
        if label:
            invented[object] = WorldEntity(object, label, "invented")
        at = midnight(_day(day, path, number))
        trials.append(
            Trial(kind == "hopeless", WorldMove(at, "succeed", subject, _relation(relation), object))
        )
    return tuple(trials), invented


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WorldError(f"{path} cannot be read: {error}") from error


def _wordings(directory: Path) -> dict[str, RelationWording]:
    path = directory / "templates.toml"
    found: dict[str, RelationWording] = {}
    for name, table in _tables(path).items():
        try:
            found[_relation(name)] = RelationWording(
                id=_relation(name),
                label=table["label"],
                subject_type=table["subject_type"],
                open=tuple(table["templates"]),
                close=tuple(table["close"]),
                inverse=tuple(table["inverse"]),
            )
        except KeyError as error:
            raise WorldError(f"{path}, [{name}]: {error} is missing") from error
    return found


def _cases(directory: Path) -> Iterator[AwkwardCase]:
    path = directory / "awkward.toml"
    for case in _tables(path).get("case", ()):
        try:
            slot = case["subject"], _relation(case["relation"])
            yield AwkwardCase(
                kind=case["kind"],
                subject=slot[0],
                relation=slot[1],
                story=case["story"],
                expect=cast("ExpectedVerdict", case["expect"]),
                moves=tuple(_step(slot, step, path) for step in case["steps"]),
                also=_relation(case["also"]) if "also" in case else None,
                rival=case.get("rival"),
            )
        except KeyError as error:
            raise WorldError(f"{path}, case {case.get('kind', '?')!r}: {error} is missing") from error


def _step(slot: tuple[str, str], step: Mapping[str, Any], path: Path) -> WorldMove:
    if step["do"] not in ("add", "succeed", "end", "replace"):
        raise WorldError(f"{path}: a step cannot {step['do']!r}")
    try:
        at = datetime.fromisoformat(step["at"])
        ended = date.fromisoformat(step["ended"]) if "ended" in step else None
    except ValueError as error:
        raise WorldError(f"{path}: {error}") from error
    return WorldMove(
        at=at if at.tzinfo else at.replace(tzinfo=UTC),
        do=cast("Do", step["do"]),
        subject=slot[0],
        relation=slot[1],
        object=step["object"],
        rank=cast("Rank", step.get("rank", "normal")),
        ended=ended,
        reference=step.get("reference", True),
    )


def _relation(property_id: str) -> str:
    return f"wdt:{property_id}"


def _day(text: str, path: Path, number: int) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise WorldError(f"{path}, line {number}: {text!r} is not a date (YYYY-MM-DD)") from None
