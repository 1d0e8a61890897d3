"""What the audit log's proofs cost in a log of a million events.

    python -m benchmarks.audit [--events N] [--json FILE]

Printed are the time of appending and the Merkle tree's share of it, and the median and the worst of 200 proofs at
random places: the time to make and to verify an inclusion proof with its signed head, its size, and the same for
consistency proofs; then the time of the whole verification and of one from a head on.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state import State, merkle
from state.notes import Note, SigningKey, TreeHead
from state.records import Anchor
from state.tree import Tree

STEP = 5_000
PLACES = 200


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = measured(Path(directory) / "ledger.db", chosen.events)
    print("| what | figure |\n|---|--:|")
    for name, value in found.items():
        print(f"| {name.replace('_', ' ')} | {value:,.4g} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(file: Path, events: int) -> dict[str, float]:
    """The figures of a log of so many events."""
    state = State.open(f"sqlite:///{file}")
    state.migrate()
    found: dict[str, float] = {"events": events, **_appended(state, events)}
    key = SigningKey("benchmark", Ed25519PrivateKey.generate())
    with state.write() as tx:
        tx.emit("key.created", "benchmark", {"key": str(key.public)})
    places = random.Random(1).sample(range(1, events), min(PLACES, events - 1))
    found |= _proofs(state, key, places)
    start = state.audit.anchor()
    assert start is not None
    signed = Anchor(start.seq, start.hash, start.at, state.audit.tree_head(key, start.seq))
    with state.write() as tx:
        tx.emit("check.passed", "benchmark", {})
    found["verify_since_a_head_s"] = _seconds(lambda: state.audit.verify_since(signed, [[signed]]))
    found["verify_everything_s"] = _seconds(lambda: state.audit.verify(signed))
    state.close()
    return found


def _appended(state: State, events: int) -> dict[str, float]:
    """Append events as the log is written, and time the tree within."""
    grow, spent = Tree.grow, 0.0

    def timed(tree: Tree, most: int | None = None) -> None:
        nonlocal spent
        begun = time.process_time()
        grow(tree, most)
        spent += time.process_time() - begun

    Tree.grow = timed  # type: ignore[method-assign]
    begun = time.process_time()
    try:
        for first in range(0, events, STEP):
            with state.write() as tx:
                for number in range(first, min(first + STEP, events)):
                    tx.emit("check.passed", "benchmark", {"number": number, "reason": "x" * 200})
    finally:
        Tree.grow = grow  # type: ignore[method-assign]
    whole = time.process_time() - begun
    return {"append_us": whole / events * 1e6, "tree_share_of_append_percent": spent / whole * 100}


def _proofs(state: State, key: SigningKey, places: list[int]) -> dict[str, float]:
    made, verified, sizes, consistent = [], [], [], []
    for seq in places:
        begun = time.perf_counter()
        size, [(row, proof)] = state.audit.proven([seq])
        note = state.audit.tree_head(key, size)
        made.append(time.perf_counter() - begun)
        sizes.append(len(json.dumps({"proof": [base64.b64encode(p).decode() for p in proof], "head": note})))
        begun = time.perf_counter()
        head = _head(note, key)
        leaf = merkle.leaf_hash(bytes.fromhex(row["hash"]))
        assert merkle.root_of_inclusion(seq - 1, size, leaf, proof) == head.root
        verified.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        state.audit.consistency(seq, size)
        consistent.append(time.perf_counter() - begun)
    return {
        **_summary("inclusion_made_ms", made, 1e3),
        **_summary("inclusion_verified_ms", verified, 1e3),
        **_summary("inclusion_and_head_bytes", sizes, 1),
        **_summary("consistency_made_ms", consistent, 1e3),
    }


def _head(note: str, key: SigningKey) -> TreeHead:
    parsed = Note.parse(note)
    assert parsed.signed_by([key.public]) is not None
    return TreeHead.parse(parsed.text)


def _summary(name: str, values: list[Any], unit: float) -> dict[str, float]:
    return {f"{name}_median": statistics.median(values) * unit, f"{name}_worst": max(values) * unit}


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    assert work().ok
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
