"""One shot: an imported base and a file's records in, an edited model directory and what became of each fact out.

    load → ask → build (reusing every cached δ) → write the checkpoint → read it back → ask again

What is judged is what was written, in the dtype in which it will be served.  Interrupted anywhere, the
same call carries on with the δs and statistics that were finished; `out` appears whole or not at all.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from editing.datasets import Record
from editing.durable import STAGING, remove
from editing.editors.contract import BuildInputs
from editing.editors.registry import editor_named
from editing.errors import CheckpointError
from editing.evaluation.outcome import FactOutcome, Scores, Sheet, answered, outcomes, questions
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.preflight import Preflight, check_disk
from editing.progress import Progress, silent
from editing.settings import EditSettings
from editing.storage.checkpoints import read_changed, verify, write_checkpoint


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be edited, with what."""

    base: Path
    """Directory of the imported base (`checkpoints.import_base`)."""
    records: tuple[Record, ...]
    settings: EditSettings
    corpus: tuple[Path, ...]
    cache: Path
    """δs, statistics and prefixes, shared by all edits of all bases."""
    device: str | None = None
    probes: bool = True
    """Whether paraphrases and neighbours are asked too, or only the facts' own prompts."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an edit did."""

    out: str
    digest: str
    base: str
    """Digest of the base."""
    facts: tuple[FactOutcome, ...]
    before: Scores
    after: Scores
    layers: tuple[int, ...]
    settings: dict[str, Any]
    cost: dict[str, float]


@dataclass(frozen=True)
class Loaded:
    """A base in memory."""

    digest: str
    model: Any
    tokenizer: Any


def load(edit: Edit, progress: Progress = silent) -> Loaded:
    """The base, every byte of it checked; raises DamagedCheckpoint, ModelError."""
    progress("load", 0, 1)
    digest = verify(edit.base)
    loaded = Loaded(digest, load_model(edit.base, device=edit.device), load_tokenizer(edit.base))
    progress("load", 1, 1)
    return loaded


def preflight(edit: Edit, loaded: Loaded) -> Preflight:
    """What the edit's build would take; raises what it would raise before it begins."""
    editor = editor_named(edit.settings.editor)
    return editor.estimate(loaded.model, loaded.tokenizer, editor.arranged(_inputs(edit, loaded)))


def run(
    edit: Edit,
    loaded: Loaded,
    out: Path,
    *,
    planned: Callable[[Preflight], None] = lambda expected: None,
    progress: Progress = silent,
) -> Report:
    """Edit, and write the edited model to `out`; `planned` is told what the build takes before anything is asked.

    Raises CheckpointError where `out` exists, and what `build` and `write_checkpoint` raise.
    """
    refuse_existing(out)
    model, tokenizer = loaded.model, loaded.tokenizer
    pairs = questions(edit.records, probes=edit.probes)
    started = time.perf_counter()

    def ask(phase: str) -> Sheet:
        return answered(
            model,
            tokenizer,
            edit.records,
            pairs,
            tick=_Count(progress, phase, len(pairs) + len(edit.records)),
        )

    before = ask("ask before")
    editor = editor_named(edit.settings.editor)
    inputs = editor.arranged(_inputs(edit, loaded))

    def begins(expected: Preflight) -> None:
        planned(expected)
        check_disk(expected, edit.cache, out)

    built = editor.edit(model, tokenizer, inputs, planned=begins, progress=progress)
    progress("write", 0, 1)
    _sweep(out)
    digest = write_checkpoint(edit.base, out, built.tensors)
    progress("write", 1, 1)
    with swapped(model, read_changed(edit.base, out)):
        after = ask("ask after")
    return Report(
        out=str(out),
        digest=digest,
        base=loaded.digest,
        facts=outcomes(before, after),
        before=before.scores(),
        after=after.scores(),
        layers=built.layers,
        settings=asdict(edit.settings),
        cost=built.cost.entries() | {"seconds_total": time.perf_counter() - started},
    )


def refuse_existing(out: Path) -> None:
    """Raise CheckpointError where `out` exists: nothing is ever overwritten."""
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists already: nothing is overwritten; choose another name")


def _sweep(out: Path) -> None:
    """Remove what a killed attempt at this very `out` left beside it."""
    for path in sorted(out.parent.glob(f"{STAGING}{glob.escape(out.name)}-*")):
        remove(path)


def _inputs(edit: Edit, loaded: Loaded) -> BuildInputs:
    return BuildInputs(
        requests=[record.request for record in edit.records],
        settings=edit.settings,
        cache=edit.cache,
        base_digest=loaded.digest,
        corpus=edit.corpus,
    )


class _Count:
    """A tick that reports how many of `total` questions of a phase are answered."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._total, self._done = progress, phase, total, 0
        progress(phase, 0, total)

    def __call__(self, count: int) -> None:
        self._done += count
        self._progress(self._phase, min(self._done, self._total), self._total)
