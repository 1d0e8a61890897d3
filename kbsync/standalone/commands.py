"""Use the engine on any local model, without source, ledger or daemon: edit facts, compute statistics, trace.

Bases and the cache are still kept in a home, so that a second edit of the same model computes only what is
new.  The home is locked meanwhile, so that a daemon's clean-up cannot remove files that are being written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from editing.datasets import Record
from editing.progress import Pace, TimedProgress
from editing.requests import EditRequest
from kbsync.errors import UsageError
from kbsync.home import Home
from kbsync.standalone.target import Chosen

if TYPE_CHECKING:
    from editing.preflight import Preflight
    from editing.standalone import EditOutcome
    from editing.tracing.trace import TraceResult

Announce = Callable[["Preflight", str], None]
"""Called with the estimate and, if the settings may not fit the base, the reason."""


def edit(
    chosen: Chosen,
    records: Sequence[Record],
    out: Path | None,
    *,
    probes: bool,
    allow_failed: bool = False,
    announce: Announce,
    progress: TimedProgress,
) -> EditOutcome | None:
    """Edit `records` into the chosen model and write it to `out`; without `out`, only announce the expected cost."""
    corpus = chosen.text()
    if out is not None:
        refuse_place(out, chosen.home)
    from editing import standalone

    with at_work(chosen, "kbsync edit"):
        base = chosen.imported()
        doubt = chosen.doubt(base.digest)
        job = standalone.EditInputs(
            base=base.directory,
            records=tuple(records),
            settings=chosen.settings,
            corpus=corpus,
            cache=chosen.home.cache,
            device=chosen.device,
            probes=probes,
        )
        pace = Pace()
        tell = paced(progress, pace)
        loaded = standalone.load(job, tell)
        if out is None:
            announce(standalone.preflight(job, loaded), doubt)
            return None

        def planned(expected: Preflight) -> None:
            pace.expect(expected.phases())
            announce(expected, doubt)

        return standalone.run(job, loaded, out, allow_failed=allow_failed, planned=planned, progress=tell)


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """The second moments of one layer's keys, and what they were computed from."""

    layer: int
    samples: int
    tokens: int
    key_width: int
    computed: bool
    """Whether they were computed by this call; otherwise they were in the cache."""
    file: str


def statistics(chosen: Chosen, progress: TimedProgress) -> tuple[LayerStatistics, ...]:
    """The second moments of all layers R of the chosen model, computed where the cache lacks them."""
    corpus = chosen.text()
    from editing.memit.preparation import chosen_layers
    from editing.memit.statistics import Statistics
    from editing.model.architectures import described, locate_parts
    from editing.model.hooks import frozen, fused
    from editing.model.loading import load_model, load_tokenizer

    tell = paced(progress, Pace())
    with at_work(chosen, "kbsync stats"):
        base = chosen.imported()
        tell("load", 0, 1)
        model, tokenizer = load_model(base.directory, device=chosen.device), load_tokenizer(base.directory)
        tell("load", 1, 1)
        parts = locate_parts(model, described(chosen.settings))
        layers = chosen_layers(parts, chosen.settings)
        found = Statistics(
            model,
            tokenizer,
            chosen.settings,
            corpus=corpus,
            base_digest=base.digest,
            cache=chosen.home.cache,
        )
        missing = found.missing(layers)
        with frozen(model), fused(model):
            found.compute(parts, layers, tell)
        return tuple(
            LayerStatistics(
                layer=layer,
                **found.counted(layer),
                key_width=parts.key_width(layer),
                computed=layer in missing,
                file=str(found.path(layer)),
            )
            for layer in layers
        )


def trace(chosen: Chosen, records: Sequence[Record], *, samples: int, progress: TimedProgress) -> TraceResult:
    """Causal tracing of the facts that the chosen model knows."""
    from editing.model.architectures import described
    from editing.model.loading import load_model, load_tokenizer
    from editing.tracing import trace

    _settle(chosen)
    return trace.trace(
        load_model(chosen.path, device=chosen.device),
        load_tokenizer(chosen.path),
        [known_statement(record) for record in records],
        trace.TraceSettings(samples=samples),
        described=described(chosen.settings),
        progress=paced(progress, Pace()),
    )


def known_statement(record: Record) -> EditRequest:
    """What the unedited model may know: the previous object, if the record has one (as in CounterFact)."""
    request = record.request
    return EditRequest(request.id, request.prompt, request.subject, record.previous or request.target)


def paced(progress: TimedProgress, pace: Pace) -> Callable[[str, int, int], None]:
    """Pass the engine's progress on to the command line, with the time left."""

    began = 0.0

    def tell(phase: str, done: int, total: int) -> None:
        nonlocal began
        if phase == "ask before":
            began = began if done else time.monotonic()
            if done >= total:  # the same questions are asked again at the end
                pace.expect({"ask after": time.monotonic() - began})
        progress(phase, done, total, pace.at(phase, done, total)[1])

    return tell


def refuse_place(out: Path, home: Home) -> None:
    """Raise UsageError, before the work begins, for an output directory that cannot be used."""
    if out.exists() or out.is_symlink():
        raise UsageError(
            f"{out} exists already", "nothing is overwritten: choose another --out, or move it away"
        )
    if {home.checkpoints, home.as_of} & set(out.resolve().parents):
        raise UsageError(
            f"{out} lies among the home's own checkpoints", "what the ledger does not know is removed there"
        )


@contextmanager
def at_work(chosen: Chosen, purpose: str) -> Iterator[None]:
    """Lock the home, and remove what killed writers left in it."""
    home = chosen.home.prepare()
    _settle(chosen)
    with home.locked(purpose):
        home.sweep_storage()
        yield


def _settle(chosen: Chosen) -> None:
    """Set the number of threads, and disable the libraries' own progress bars."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
