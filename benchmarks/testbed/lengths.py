"""Edits by the length of their object and by the place of their subject: `python -m benchmarks.testbed.lengths`.

The same counterfactual edits of the bundled model with its settings, a build for each row:

    object     their objects are drawn again from the world's, by the number of tokens; those of six tokens and
               more are several names joined by "and", which the model has never seen together
    subject    other edits, of subjects of one token, each in two wordings: "The capital of {} is" (later) and "{} has
               as its capital", where the subject is the first token of the text (first)

Writes `testbed-lengths.json` and `.md` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.testbed.quality import Bench, Edit
from benchmarks.testbed.tables import DEMO, RESULTS, bench, recommended
from editing.settings import EditSettings

LENGTHS = ((1, 1), (2, 2), (3, 5), (6, 8), (9, 12))
"""Tokens of an object: from, to."""
SUBJECT_FIRST = 1
"""Index of the wording of every relation that begins with its subject."""
SHOWN = ("alone", "strict", "s", "es", "ps", "ns", "paraphrase", "neighbours", "perplexity")
LONGEST_JOIN = 5
"""Names that are joined at most."""


def objects_of(bed: Bench, lengths: tuple[int, int], count: int, seed: int = 0) -> list[str]:
    """`count` different objects of that many tokens."""
    low, high = lengths
    names = sorted({object_ for _, _, object_ in bed.world.facts})
    draw, found = random.Random(seed), dict[str, None]()
    for _ in range(100_000):
        joined = 1 if high <= LONGEST_JOIN else draw.randint(2, LONGEST_JOIN)
        object_ = " and ".join(draw.sample(names, joined))
        if low <= _tokens(bed, object_) <= high:
            found[object_] = None
        if len(found) == count:
            return list(found)
    raise ValueError(f"the world has fewer than {count} objects of {low} to {high} tokens")


def _tokens(bed: Bench, text: str) -> int:
    return len(bed.tokenizer(f" {text}")["input_ids"])


def with_objects(edits: Sequence[Edit], objects: Sequence[str]) -> list[Edit]:
    """The edits with other new objects, none of which is the old one."""
    left = list(objects)
    changed = []
    for edit in edits:
        new = next(object_ for object_ in left if object_ != edit.old)
        left.remove(new)
        changed.append(replace(edit, new=new))
    return changed


def worded(bed: Bench, index: int) -> Bench:
    """The same bench with the wording `index` of every relation first, which is edited and asked."""
    templates = {
        relation: (own[index], *(text for text in own if text != own[index]))
        for relation, own in bed.world.templates.items()
    }
    other = object.__new__(Bench)
    other.__dict__.update(bed.__dict__ | {"world": replace(bed.world, templates=templates)})
    return other


def known_among(bed: Bench, edits: Sequence[Edit]) -> list[Edit]:
    """The edits whose old object the base states in the bench's wording."""
    right = bed.states([bed.case((edit.subject, edit.relation, edit.old)) for edit in edits])
    return [edit for edit, known in zip(edits, right, strict=True) if known]


def rows_of(bed: Bench, settings: EditSettings, variants: int, n: int) -> list[dict[str, Any]]:
    """A row a length, and a row a place of the subject."""
    edits = bed.counterfactuals(n)
    rows: list[dict[str, Any]] = []
    for lengths in LENGTHS:
        chosen = with_objects(edits, objects_of(bed, lengths, n + 1))
        low, high = lengths
        name = f"{low} tokens" if low == high else f"{low}–{high} tokens"
        rows.append(_row("object", name, bed, chosen, settings, variants))
    first = worded(bed, SUBJECT_FIRST)
    more = bed.counterfactuals(3 * n, seed=1)
    both = set(known_among(first, more))
    same = [edit for edit in more if edit in both and _tokens(bed, edit.subject) == 1][:n]
    for bench_, place in ((bed, "later"), (first, "first")):
        rows.append(_row("subject", f"one token, {place}", bench_, same, settings, variants))
    return rows


def _row(
    by: str, what: str, bed: Bench, edits: Sequence[Edit], settings: EditSettings, variants: int
) -> dict[str, Any]:
    quality = bed.judge(edits, settings, variants=variants)
    row: dict[str, Any] = {"by": by, "what": what, "n": len(edits)}
    row |= {name: round(getattr(quality, name), 4) for name in SHOWN}
    print(json.dumps(row), flush=True)
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| by | what | n | " + " | ".join(SHOWN) + " |", "|---" * (3 + len(SHOWN)) + "|"]
    for row in rows:
        cells = " | ".join(f"{row[name]:.3f}" for name in SHOWN)
        lines.append(f"| {row['by']} | {row['what']} | {row['n']} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings, variants = recommended(DEMO / "model")
    with tempfile.TemporaryDirectory() as cache:
        rows = rows_of(bench(DEMO / "model", Path(cache)), settings, variants, options.edits)
    result = {"machine": "1 thread, CPU", "rows": rows}
    name = options.out / "testbed-lengths"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    name.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
