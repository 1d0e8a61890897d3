"""Write docs/architectures.md: `python docs/architectures.py`, from the repository, some minutes on one core.

Every causal family that the installed transformers knows is drawn up as a tiny random model and examined.
A test does the same for a few families at each run, and for all of them in the slow edition.
"""

from __future__ import annotations

from pathlib import Path

import transformers

from tests.support.exactness import Outcome, examine
from tests.support.families import CAUSAL, SEEING

PAGE = Path(__file__).parent / "architectures.md"
HEAD = """<!-- Made by `python docs/architectures.py`; do not edit. -->

# Architectures

kbsync finds a model's parts in its modules: the list of blocks, W_out of each block (the MLP's output
projection), a norm that what it writes passes, and the head. Nothing looks at a model's name or path.
What is found is then proven on the model itself, once, before anything is edited: the self-test adds a vector
to the output of W_out and compares what reaches the block's output with the prediction, checks that no later
token reaches an earlier one, that a text has the same logits beside others as alone, that no other part
shares W_out, and that a change of it changes nothing else and can be taken back bit for bit. It also finds
out whether texts may be continued from cached keys and values; where not (state-space layers, layers that
share keys, positions that do not start at 0), texts are run whole, exactly but more slowly.
`kbsync inspect --model DIR` prints all of it for a model, with the memory that an edit needs.

A model that is built in another way can be described in `[edit]`: `architecture_blocks`,
`architecture_writer` and `architecture_norm`.

The table was made with transformers {version} on tiny random models in fp64, drawn up by rule from each
family's own configuration. *Exact* says that optimised targets and updates of W_out agree with a plain serial
reading of the paper to 1e-6 (where no norm follows W_out, to 1e-13). A family without a tiny model may well work: ask
`kbsync inspect`.

{exact} of {all} families are exact.

| family | blocks and W_out | layers | texts are run | exact | remark |
|---|---|---|---|---|---|
"""


def row(kind: str, found: Outcome) -> str:
    """One line of the table."""
    where = f"`{found.found}`" if found.found else ""
    layers = f"{found.layers} of {found.depth}" if found.depth else ""
    run = ("whole" if found.whole else "from the cache") if found.exact else ""
    return f"| {kind} | {where} | {layers} | {run} | {'yes' if found.exact else 'no'} | {found.reason} |"


def main() -> None:
    rows = {}
    for kind in (*CAUSAL, *SEEING):
        found = examine(kind)
        rows[kind] = (row(kind, found), found.exact)
        print(rows[kind][0], found.deviation, flush=True)
    exact = sum(fine for _, fine in rows.values())
    text = HEAD.format(version=transformers.__version__, exact=exact, all=len(rows))
    PAGE.write_text(text + "\n".join(line for line, _ in rows.values()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
