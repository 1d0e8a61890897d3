"""Proof files: the way of a fact, a run or a checkpoint through the log, verifiable without kbsync.

Every step is an event with the proof that it is in the log whose signed head the file has.  What a checkpoint holds,
or does not, is proven against the root of its view, which the event of its promotion states.  `verify_proof.py`
checks such a file; docs/proofs.md explains it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.proofs import keys
from state import Snapshot
from state.archives.events import all_events
from state.errors import NotFound
from state.event_queries import EventFilter
from state.hash_chain import canonical, instant
from state.records import Checkpoint, Event, Fact
from state.redaction import is_redacted
from state.view_set import Leaf, ViewSet, place

FORMAT = "kbsync-proof/1"
MOST_OF_RUN = 10_000
"""Events of a run: there are some dozens."""

Kind = Literal["fact", "run", "checkpoint", "subject"]


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the way, and what it is there for."""

    step: str
    says: str
    event: Event


def prove(app: Application, kind: Kind, id: str, checkpoint: int | None = None) -> dict[str, Any]:
    """The proof of a fact in a checkpoint (None: live), of a run, or of a checkpoint, as JSON values.

    Raises UsageError if there is none: no such thing, or a fact that the checkpoint was not built with.
    """
    shown, view = None, None
    with app.state.read() as tx:
        match kind:
            case "fact":
                fact, shown = _fact(tx, id), _checkpoint(tx, checkpoint)
                steps = [*_way_of(tx, fact, shown), *_way_to(tx, shown)]
                view = _present(tx, fact, shown)
            case "run":
                steps = [*_of_run(tx, _number(id))]
            case "checkpoint":
                shown = _checkpoint(tx, _number(id))
                steps = [*_way_to(tx, shown)]
            case _:
                raise UsageError(f"a {kind} is proven to be absent only", "add --absent and --checkpoint")
    if not steps:
        raise UsageError(f"the log has nothing of {kind} {id}", "see `kbsync runs`, `kbsync checkpoints`")
    return _file(app, {"kind": kind, "id": id}, steps, None if shown is None else shown.id, view)


def prove_absent(app: Application, kind: Kind, id: str, checkpoint: int | None = None) -> dict[str, Any]:
    """The proof that a checkpoint (None: live) was not built with a fact's statement, or with any of a subject.

    Raises UsageError if it was.
    """
    with app.state.read() as tx:
        chosen = _checkpoint(tx, checkpoint)
        if kind == "subject":
            names: tuple[str, ...] = (id,)
        elif kind == "fact":
            fact = _fact(tx, id)
            names = (fact.subject, fact.relation, fact.object)
        else:
            raise UsageError(f"the absence of a {kind} cannot be proven", "name a fact or a subject")
        facts, entry = _view_of(tx, chosen)
        neighbours = facts.absent(place(*names))
        if neighbours is None:
            raise UsageError(
                f"checkpoint {chosen.id} was built with {' '.join(names)}",
                "prove that instead: `kbsync prove fact ID`",
            )
        view = {**entry, "names": list(names), "absent": [_leaf(one) for one in neighbours]}
        steps = list(_way_to(tx, chosen))
    return _file(app, {"kind": kind, "id": id, "absent": True}, steps, chosen.id, view)


def prove_events(app: Application, title: str, events: Sequence[Event]) -> dict[str, Any]:
    """The proof that these events are in the log, whatever they are about."""
    steps = [Step("event", f"{event.kind} by {event.actor}", event) for event in events]
    return _file(app, {"kind": "log", "id": title}, steps)


def _file(
    app: Application,
    about: Mapping[str, Any],
    steps: Sequence[Step],
    chosen: int | None = None,
    view: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The file: signed head, then every step once, in the order of the log; the operator's key signs the whole.

    Events whose words were erased are left out, for their hash cannot be computed any more.
    """
    signer = keys.signer(app)
    if signer is None:
        raise UsageError("no key signs the log", "create one with `kbsync keys create`")
    whole = {one.event.seq: one for one in steps if not is_redacted(one.event.body)}
    ordered = sorted(whole.values(), key=lambda one: one.event.seq)
    head, rows = app.state.audit.proven([one.event.seq for one in ordered], signer)
    file = {
        "format": FORMAT,
        "about": {**about, "checkpoint": chosen},
        "made": instant(app.now()),
        "key": str(signer.public),
        "head": head,
        "steps": [
            {
                "step": one.step,
                "says": one.says,
                "event": row,
                "proof": [base64.b64encode(step).decode() for step in proof],
            }
            for one, (row, proof) in zip(ordered, rows, strict=True)
        ],
        "view": view,
    }
    signature = signer.public.id + signer.signature(canonical(file))
    return {**file, "signature": base64.b64encode(signature).decode()}


def written(file: Mapping[str, Any]) -> bytes:
    """The text of the file; the checker refuses any other, so that no byte of it can be changed unnoticed."""
    return json.dumps(file, ensure_ascii=False, indent=1).encode() + b"\n"


def _way_of(tx: Snapshot, fact: Fact, chosen: Checkpoint) -> Iterator[Step]:
    """From the source's statement to the decision that the fact is wanted, up to the checkpoint's promotion."""
    until = _promotion(tx, chosen).seq
    for event in tx.events(fact=fact.id):
        if event.seq > until:
            return
        body = json.loads(event.body)
        match event.kind:
            case "fact.approved" | "fact.rejected" | "fact.reopened":
                yield Step("reviewer", f"{event.actor} decided: {body.get('reason', '')}", event)
            case _:
                source = f"{body.get('source')} revision {body.get('revision')}, {body.get('statement')}"
                what = f"{body.get('subject')} {body.get('relation')} {body.get('object')}"
                yield Step("verdict", f"{what} ({source}) is {body.get('to')}: {body.get('reason')}", event)


def _way_to(tx: Snapshot, chosen: Checkpoint) -> Iterator[Step]:
    """The run that built a checkpoint, its gates, its promotion, and what servers were seen to serve."""
    promotion = _promotion(tx, chosen)
    runs = dict.fromkeys(run for run in (chosen.run, promotion.run) if run is not None)
    for run in runs:
        yield from (one for one in _of_run(tx, run) if one.event.seq <= promotion.seq)
    yield Step("promotion", f"checkpoint {chosen.id} with digest {chosen.digest} went live", promotion)
    for event in tx.events(kind="deployment.deployed", after=promotion.seq):
        body = json.loads(event.body)
        if body["checkpoint"] == chosen.id:
            served = f"{body['hook']} was seen to serve {body['observed'] or 'it'}"
            yield Step("served", served, event)


def _of_run(tx: Snapshot, run: int) -> Iterator[Step]:
    """What happened in a run, its verdicts with their counts among it."""
    for event in reversed(all_events(tx, EventFilter(run=run), MOST_OF_RUN)):
        body = json.loads(event.body)
        match event.kind:
            case "run.planned":
                yield Step("run", f"run {run} was planned for view {body['view']}", event)
            case "run.gates":
                stated = "; ".join(map(_gate, body["gates"]))
                yield Step("gates", f"candidate {body['digest']}: {stated}", event)
            case "checkpoint.created":
                yield Step("checkpoint", f"checkpoint {body['checkpoint']}, digest {body['digest']}", event)
            case "run.staged" | "run.rejected" | "run.failed" | "run.rolled_back":
                word = event.kind.partition(".")[2]
                yield Step("decision", f"run {run} {word} by {event.actor}: {body.get('reason', '')}", event)


def _gate(gate: Mapping[str, Any]) -> str:
    counts = f"{gate['k']} of {gate['n']}" if gate.get("k") is not None else f"{gate['value']}"
    stands = "passed" if gate["passed"] else "failed"
    return f"{gate['name']} {counts} against {gate['threshold']} {stands}"


def _promotion(tx: Snapshot, chosen: Checkpoint) -> Event:
    """The event of the checkpoint's last promotion.  Raises UsageError if it never went live."""
    for event in reversed(tx.events(kind="checkpoint.promoted")):
        if json.loads(event.body)["checkpoint"] == chosen.id:
            return event
    raise UsageError(f"checkpoint {chosen.id} never went live", "prove its run: `kbsync prove run ID`")


def _view_of(tx: Snapshot, chosen: Checkpoint) -> tuple[ViewSet, dict[str, Any]]:
    """The checkpoint's view, and what the file says of it.  Raises UsageError for one promoted by an older version."""
    promotion = _promotion(tx, chosen)
    body = json.loads(promotion.body)
    facts = ViewSet(tx.view_facts(chosen.view))
    if body.get("view_root") != facts.root().hex():
        raise UsageError(
            f"event {promotion.seq} does not state the root of checkpoint {chosen.id}'s view",
            "it was promoted by an older version: promote a checkpoint with this one",
        )
    return facts, {"root": body["view_root"], "size": facts.size}


def _present(tx: Snapshot, fact: Fact, chosen: Checkpoint) -> dict[str, Any]:
    facts, entry = _view_of(tx, chosen)
    found = facts.present(fact)
    told = [one for one in tx.events(fact=fact.id) if not is_redacted(one.body)]
    if not any(json.loads(one.body).get("key") == fact.key for one in told):
        raise UsageError(
            f"the events of fact {fact.id} were erased in part: a subject was forgotten",
            "proofs that were made before still verify",
        )
    if found is None:
        raise UsageError(
            f"checkpoint {chosen.id} was not built with fact {fact.id}",
            "name another with --checkpoint, or prove its absence with --absent",
        )
    words = (fact.subject, fact.relation, fact.object, fact.template, fact.subject_label, fact.target)
    return {**entry, "fact": fact.id, "words": list(words), "present": _leaf(found)}


def _leaf(one: Leaf) -> dict[str, Any]:
    proof = [base64.b64encode(step).decode() for step in one.proof]
    return {"index": one.index, "data": one.data.hex(), "proof": proof}


def _fact(tx: Snapshot, id: str) -> Fact:
    try:
        return tx.fact(_number(id))
    except NotFound:
        raise UsageError(f"there is no fact {id}", "see `kbsync facts`") from None


def _checkpoint(tx: Snapshot, id: int | None) -> Checkpoint:
    if id is None:
        live = tx.live()
        if live is None:
            raise UsageError("no checkpoint is live", "name one with --checkpoint")
        return live
    try:
        return tx.checkpoint(id)
    except NotFound:
        raise UsageError(f"there is no checkpoint {id}", "see `kbsync checkpoints`") from None


def _number(id: str) -> int:
    if not (id.isascii() and id.isdecimal()):
        raise UsageError(f"{id!r} is not a number", "name it as `kbsync facts`, `runs` or `checkpoints` does")
    return int(id)
