"""Bundles of evidence: events, proofs, reports and answers in one archive, with a page to begin at.

A ZIP file, which opens everywhere: `index.html` for people, `proof*.json` and `verify_proof.py` to check with,
`events.jsonl` as an export has them, `runs/…` as the workers wrote them, `witnesses/…` with the heads that are kept.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment

from editing.durable import staged
from editing.errors import SpecError
from editing.spec import BuildReport
from kbsync import __version__
from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.proofs import evidence
from kbsync.proofs.witnesses import configured
from state.archives.events import all_events
from state.event_queries import EventFilter
from state.hash_chain import instant
from state.records import Event

MOST_EVENTS = 20_000
"""Each has a proof of its own, about a kilobyte."""
_OF_A_ROUND = ("spec.json", "report.json", "gate_commands.json", "judge.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass
class Collected:
    """The files of a bundle by name, and what its page shows."""

    files: dict[str, bytes] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: Any) -> None:
        self.files[name] = evidence.written(value)


def bundle(app: Application, chosen: EventFilter, title: str, out: Path) -> dict[str, str]:
    """Write the evidence of the chosen events into a ZIP file; returns the SHA-256 of each file in it.

    Of a run or a fact, everything about it; of a span of time, its events.  Raises UsageError if there is nothing, or
    too much.
    """
    with app.state.read() as tx:
        events = sorted(all_events(tx, chosen, MOST_EVENTS + 1), key=lambda event: event.seq)
    if not events:
        raise UsageError(f"the log has nothing of {title}", "see `kbsync audit show`")
    if len(events) > MOST_EVENTS:
        raise UsageError(f"{title} has more than {MOST_EVENTS} events", "choose a shorter span")
    collected = Collected()
    log = evidence.prove_events(app, title, events)
    collected.add("proof.json", log)
    collected.files["events.jsonl"] = b"".join(_line(step["event"]) for step in log["steps"])
    for name, found in _further_proofs(app, chosen):
        collected.add(name, found)
    for run in _runs(app, chosen, events):
        _add_reports(app, run, collected)
    for number, witness in enumerate(configured(app), start=1):
        lines = [{**asdict(one), "at": instant(one.at)} for one in witness.kept()]
        collected.add(f"witnesses/{number}.json", {"witness": witness.name, "heads": lines})
    checker = resources.files("kbsync.proofs")
    collected.files["verify_proof.py"] = checker.joinpath("verify_proof.py").read_bytes()
    page = _page(app, title, log, collected)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in collected.files.items()}
    _write(out, {"index.html": page, **collected.files})
    return digests


def _further_proofs(app: Application, chosen: EventFilter) -> Iterator[tuple[str, dict[str, Any]]]:
    """The proof that live was built with the fact, or was not."""
    if chosen.fact is None:
        return
    for make, name in ((evidence.prove, "proof-live.json"), (evidence.prove_absent, "proof-absent.json")):
        try:
            yield name, make(app, "fact", str(chosen.fact))
        except UsageError:
            continue  # it is the other of the two, or nothing is live


def _runs(app: Application, chosen: EventFilter, events: Iterable[Event]) -> list[int]:
    if chosen.fact is not None:
        with app.state.read() as tx:
            return list(dict.fromkeys(built.run.id for built in tx.provenance(chosen.fact).builds))
    return sorted({event.run for event in events if event.run is not None})


def _add_reports(app: Application, run: int, collected: Collected) -> None:
    """Spec, report, and what gate commands and a judge model found, of every round, as far as it is still there."""
    directory = app.home.run(run)
    for place in sorted(directory.glob("round-*")):
        name = f"runs/{run}/{place.name}"
        for file in (place / one for one in _OF_A_ROUND):
            if file.is_file():
                collected.files[f"{name}/{file.name}"] = file.read_bytes()
        try:
            report = BuildReport.read(place / "report.json")
        except SpecError:
            continue  # the round ended without one
        answers = [
            {"id": one.id, "base": one.base_answer, "live": one.live_answer, "candidate": one.answer}
            for one in report.facts
        ]
        round = place.name.removeprefix("round-")
        collected.rounds.append(
            {"run": run, "round": round, "file": f"{name}/report.json", "answers": answers}
        )


def _page(app: Application, title: str, log: Mapping[str, Any], collected: Collected) -> bytes:
    text = resources.files("kbsync.proofs").joinpath("bundle.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(text)
    origin, size, *_ = log["head"].split("\n")
    return page.render(
        title=title,
        version=__version__,
        made=instant(app.now()),
        origin=origin,
        size=size,
        key=log["key"],
        proofs=sorted(name for name in collected.files if name.startswith("proof")),
        events=[step["event"] for step in log["steps"]],
        rounds=collected.rounds,
        files={name: hashlib.sha256(content).hexdigest() for name, content in collected.files.items()},
    ).encode()


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Atomically, readable only by its owner: reports may quote what a source says of people."""
    with staged(out, 0o600) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
