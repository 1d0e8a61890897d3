"""`inspect`: the parts of a model, tested on the model itself, and what an edit of it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kbsync.cli.model_options import ModelOptions
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.standalone.inspection import Inspection

UNSUPPORTED = 78


def register(app: typer.Typer) -> None:
    app.command()(inspect)


@grouped
def inspect(context: typer.Context, options: ModelOptions, json: Json = False) -> None:
    """Say what a model is made of, test that on the model itself, and say what an edit of it needs.

    Nothing is written. Ends with 78 where the model cannot be edited, and says why.
    """
    from kbsync.standalone.inspection import inspect as look

    found = look(options.chosen(context))
    if json:
        print_json(found)
    else:
        show(found)
    if not found.supported:
        raise typer.Exit(UNSUPPORTED)


def show(found: Inspection) -> None:
    """The inspection, for people."""
    from editing.preflight import gib

    dtypes = ", ".join(f"{dtype} {count:,}" for dtype, count in found.dtypes.items())
    print_table(
        f"{found.kind} in {found.model}",
        ("what", "found"),
        (
            ("family", found.family),
            ("parameters", f"{found.parameters:,}, stored as {dtypes}"),
            ("blocks", f"{len(found.layers)} at {found.blocks}, width {found.width}"),
            ("final norm", found.final_norm or "none"),
            ("head", f"{found.head}, {'tied to the embedding' if found.tied else 'of its own'}"),
            ("context", f"{found.context:,} tokens, vocabulary {found.vocabulary:,}"),
            ("texts begin with", found.bos or "no token of their own: keep subjects off the first position"),
            ("chat template", "yes" if found.chat_template else "no"),
            ("prefix cache", "yes" if found.prefix_cache else f"no, texts are run whole: {found.why_whole}"),
            *((f"memory, {phase}", gib(size)) for phase, size in found.memory.items()),
        ),
    )
    print_table(
        "W_out, layer by layer",
        ("layer", "weight", "shape", "norm after it", "edited by default", "cannot be edited because"),
        (
            (one.layer, one.writer, " × ".join(map(str, one.shape)), one.norm, one.edited, one.reason)
            for one in found.layers
        ),
    )
    print_table(
        "self-test",
        ("test", "passed", "off by", "what"),
        ((one.name, one.passed, one.deviation, one.detail) for one in found.tests),
    )
    if found.supported:
        say(f"supported; memory beside the weights is for {found.edits} edits")
    else:
        say(f"not supported: {found.reason}")
