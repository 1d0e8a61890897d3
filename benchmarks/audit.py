"""What the audit log's proofs cost in a log of a million events, and what the log costs a cycle.

    python -m benchmarks.audit [--events N] [--ledger FILE] [--name NAME]

Measured are the CPU time of appending and the Merkle tree's share of it, and at 200 random places: the time
to make and to verify an inclusion proof with its signed head, its size, and the time to make a consistency
proof; then the whole verification and one from a head on, and the log's share of whole cycles
(`benchmarks/audit_cycles.py`).  Writes a table, JSON and a plot to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import audit_cycles
from state import State, merkle
from state.notes import Note, SigningKey, TreeHead
from state.records import Anchor
from state.tree import Tree

RESULTS = Path(__file__).with_name("results")
STEP = 5_000
PLACES = 200
MOST_MS, MOST_PERCENT = 50, 5
"""What a proof, and the log's share of a cycle, must stay below."""
TIMED = ("inclusion_made_ms", "inclusion_verified_ms", "consistency_made_ms")
FIGURES = {
    "inclusion_made_ms": "an inclusion proof and its signed head, made (ms)",
    "inclusion_verified_ms": "the same, verified (ms)",
    "inclusion_and_head_bytes": "its size (bytes)",
    "consistency_made_ms": "a consistency proof, made (ms)",
}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument(
        "--ledger", type=Path, help="where the log is built; one that was built is used again"
    )
    options.add_argument("--name", default="audit", help="of the files under benchmarks/results")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = measured(chosen.ledger or Path(directory) / "ledger.db", chosen.events)
        found["cycles"] = audit_cycles.cycles(Path(directory))
    print(table(found))
    write(found, chosen.name)


def measured(file: Path, events: int) -> dict[str, Any]:
    """The figures of a log of so many events, which is built in `file` unless it is there."""
    found: dict[str, Any] = {"events": events, **appended(file, events)}
    state = State.open(f"sqlite:///{file}")
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


def appended(file: Path, events: int) -> dict[str, float]:
    """Append events as the log is written, and time the tree within; what was measured is kept beside the file."""
    kept = file.with_suffix(".json")
    if kept.exists():
        figures: dict[str, float] = json.loads(kept.read_bytes())
        return figures
    state = State.open(f"sqlite:///{file}")
    state.migrate()
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
    state.close()
    made = {"append_us": whole / events * 1e6, "tree_share_of_append_percent": spent / whole * 100}
    kept.write_text(json.dumps(made), encoding="utf-8")
    return made


def _proofs(state: State, key: SigningKey, places: list[int]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in FIGURES}

    def timed(name: str, begun: float) -> None:
        found[name].append(round((time.perf_counter() - begun) * 1e3, 4))

    for seq in places:
        begun = time.perf_counter()
        note, [(row, proof)] = state.audit.proven([seq], key)
        timed("inclusion_made_ms", begun)
        steps = [base64.b64encode(step).decode() for step in proof]
        found["inclusion_and_head_bytes"].append(len(json.dumps({"proof": steps, "head": note})))
        begun = time.perf_counter()
        head = _head(note, key)
        leaf = merkle.leaf_hash(bytes.fromhex(row["hash"]))
        assert merkle.root_of_inclusion(seq - 1, head.size, leaf, proof) == head.root
        timed("inclusion_verified_ms", begun)
        begun = time.perf_counter()
        state.audit.consistency(seq, head.size)
        timed("consistency_made_ms", begun)
    return found


def _head(note: str, key: SigningKey) -> TreeHead:
    parsed = Note.parse(note)
    assert parsed.signed_by([key.public]) is not None
    return TreeHead.parse(parsed.text)


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    assert work().ok
    return time.perf_counter() - begun


def table(found: dict[str, Any]) -> str:
    """GitHub-flavoured Markdown."""
    lines = [f"| a log of {found['events']:,} events | median | worst of {PLACES} |", "|---|--:|--:|"]
    for name, label in FIGURES.items():
        lines.append(f"| {label} | {statistics.median(found[name]):,.4g} | {max(found[name]):,.4g} |")
    lines += ["", "| | |", "|---|--:|"]
    lines.append(f"| appending an event, CPU time | {found['append_us']:.0f} µs |")
    lines.append(f"| of it the tree | {found['tree_share_of_append_percent']:.1f} % |")
    lines.append(f"| verification from the newest head on | {found['verify_since_a_head_s']:.2f} s |")
    lines.append(f"| verification of everything | {found['verify_everything_s']:.1f} s |")
    return "\n".join((*lines, "", audit_cycles.table(found["cycles"])))


def write(found: dict[str, Any], name: str) -> None:
    about = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version()}
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(table(found), encoding="utf-8")
    plot(found, RESULTS / f"{name}.svg")


def plot(found: dict[str, Any], path: Path) -> None:
    """How many of the proofs take how long, and the log's share of cycles, each with its limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (times, shares) = pyplot.subplots(1, 2, figsize=(11, 3.8))
    for name in TIMED:
        values = sorted(found[name])
        times.step(
            values, [100 * n / len(values) for n in range(1, len(values) + 1)], label=FIGURES[name][:-5]
        )
    times.axvline(MOST_MS, color="grey", linestyle="--", label=f"limit: {MOST_MS} ms")
    times.set(
        xscale="log", xlabel="milliseconds", ylabel="% of the proofs", title=f"{found['events']:,} events"
    )
    times.legend(fontsize=7, loc="center right")
    labels = [row["cycle"].partition(", as")[0].replace(", ", ",\n") for row in found["cycles"]]
    begin = [0.0] * len(labels)
    for column, label in {"append_percent": "appending", "witness_percent": "heads and witness"}.items():
        widths = [row[column] for row in found["cycles"]]
        shares.barh(labels, widths, left=begin, label=label)
        begin = [one + other for one, other in zip(begin, widths, strict=True)]
    shares.axvline(
        MOST_PERCENT, color="grey", linestyle="--", label=f"limit for a whole cycle: {MOST_PERCENT} %"
    )
    shares.invert_yaxis()
    shares.set(xlabel="% of the cycle", title="the log's share")
    shares.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
