"""Editing without a knowledge base: from an imported base and a file's records to an edited model directory.

    load → ask → build (reusing every cached δ) → write the checkpoint → read it back → ask again

The written checkpoint is what is judged, in the dtype in which it will be served.  After an interruption, the
same call resumes with the finished δs and statistics; `out` is created atomically.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from editing.datasets import Record
from editing.durable import STAGING, fsync_directory, remove, staging_name
from editing.editors.contract import BuildInputs, EditResult
from editing.editors.registry import editor_named
from editing.errors import CheckpointError, RequestError
from editing.evaluation.conversation import Exchange, chat_answers
from editing.evaluation.outcome import FactOutcome, Scores, Sheet, answered, outcomes, questions
from editing.evaluation.published import PromptAnswer
from editing.memit.groups import without_conflicts
from editing.memit.own_samples import OwnSamples
from editing.model.architectures import described, locate_parts
from editing.model.chat import asked, opening, statement
from editing.model.first_token import away_from_start, lead_of
from editing.model.loading import readable
from editing.model.tokens import Passage, continued, passage, try_locate
from editing.model.weights import swapped
from editing.preflight import Preflight, check_disk
from editing.progress import Counter, Progress, silent
from editing.requests import PLACEHOLDER, EditRequest, render
from editing.settings import EditSettings
from editing.storage.checkpoints import read_changed, write_checkpoint
from editing.storage.loaded import LoadedBase, load_base


@dataclass(frozen=True, slots=True)
class EditInputs:
    """The inputs of an edit."""

    base: Path
    """Directory of the imported base (`editing.storage.base_import`)."""
    records: tuple[Record, ...]
    settings: EditSettings
    corpus: tuple[Path, ...]
    cache: Path
    """Cache of δs, statistics and prefixes, shared by all edits of all bases."""
    device: str | None = None
    probes: bool = True
    """Whether paraphrases and neighbours are asked too, or only the facts' own prompts."""


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """The result of an edit."""

    out: str
    """Empty if no fact took and nothing was published."""
    digest: str
    base: str
    """Digest of the base."""
    facts: tuple[FactOutcome, ...]
    before: Scores
    after: Scores
    layers: tuple[int, ...]
    settings: dict[str, Any]
    cost: dict[str, float]
    statistics: dict[str, Any] = field(default_factory=dict)
    """The source of the statistics: the corpus' files, or samples of the model itself."""
    conversations: tuple[Exchange, ...] = ()
    """The records' questions, asked through the chat template; empty if there are none, or no template."""
    failed: dict[str, str] = field(default_factory=dict)
    """Id → why a fact could not be edited; those that cannot be asked either are not among `facts`."""


def load(edit: EditInputs, progress: Progress = silent) -> LoadedBase:
    """The base of `edit`; raises DamagedCheckpoint, ModelError."""
    return load_base(edit.base, device=edit.device, progress=progress)


def preflight(edit: EditInputs, loaded: LoadedBase) -> Preflight:
    """Estimate the cost of the edit; raises the errors that it would raise before it begins."""
    editor = editor_named(edit.settings.editor)
    return editor.estimate(loaded.model, loaded.tokenizer, editor.arranged(_inputs(edit, loaded)))


def run(
    edit: EditInputs,
    loaded: LoadedBase,
    out: Path,
    *,
    allow_failed: bool = False,
    planned: Callable[[Preflight], None] = lambda expected: None,
    progress: Progress = silent,
) -> EditOutcome:
    """Edit, and write the edited model to `out`; `planned` is called with the estimate before the build begins.

    If no fact took, nothing is published unless `allow_failed`.  A fact that cannot be edited is left out and named
    in the report; if none remains, its error is raised.  Raises CheckpointError if `out` exists, and the errors of
    the editor and of `write_checkpoint`.
    """
    refuse_existing(out)
    started = time.perf_counter()
    lead = lead_of(loaded.model, locate_parts(loaded.model, described(edit.settings)), loaded.tokenizer)
    edit, errors = _askable(_without_first_tokens(edit, loaded, lead), loaded)
    ask = partial(_ask, edit, loaded, progress=progress)
    before, said_before = ask("ask before")
    editor = editor_named(edit.settings.editor)
    inputs = editor.arranged(_inputs(edit, loaded, lead))

    def begins(expected: Preflight) -> None:
        planned(expected)
        check_disk(expected, edit.cache, out)

    built = editor.edit(loaded.model, loaded.tokenizer, inputs, planned=begins, progress=progress)
    staged, digest = _staged(edit, out, built, progress)
    with swapped(loaded.model, read_changed(edit.base, staged)):
        after, said_after = ask("ask after")
    facts = outcomes(before, after)
    published = allow_failed or any(fact.said for fact in facts)
    _publish(staged, out) if published else remove(staged)
    return EditOutcome(
        out=str(out) if published else "",
        digest=digest,
        base=loaded.digest,
        facts=facts,
        before=before.scores(),
        after=after.scores(),
        layers=built.layers,
        settings=asdict(edit.settings),
        cost=built.cost.entries() | {"seconds_total": time.perf_counter() - started},
        conversations=_exchanges(_questions(edit, loaded), said_before, said_after),
        statistics=_text_of(edit, loaded),
        failed={id: str(error) for id, error in {**errors, **built.failed}.items()},
    )


def _staged(edit: EditInputs, out: Path, built: EditResult, progress: Progress) -> tuple[Path, str]:
    """The edited model under a name of its own next to `out`, and its digest."""
    progress("write", 0, 1)
    _sweep(out)
    staged = staging_name(out)
    digest = write_checkpoint(edit.base, staged, built.tensors, solved=built.cost.solved())
    progress("write", 1, 1)
    return staged, digest


def _publish(staged: Path, out: Path) -> None:
    staged.rename(out)
    fsync_directory(out.parent)


def _exchanges(
    questions: Sequence[tuple[str, str]], before: Sequence[str], after: Sequence[str]
) -> tuple[Exchange, ...]:
    rows = zip(questions, before, after, strict=True)
    return tuple(Exchange(id, question, old, new) for (id, question), old, new in rows)


def _without_first_tokens(edit: EditInputs, loaded: LoadedBase, lead: str) -> EditInputs:
    """The edit with `lead`, a neutral sentence, before every prompt whose subject would end in the first token; `lead`
    is empty for a base that reads subjects there (`first_token.lead_of`)."""
    move = partial(away_from_start, loaded.tokenizer, lead)
    requests = [record.request for record in edit.records]
    own = move([(request.prompt, request.subject) for request in requests])
    records = [
        replace(
            record,
            request=replace(record.request, prompt=prompt),
            paraphrases=tuple(move([(asked, record.request.subject) for asked in record.paraphrases])),
        )
        for record, prompt in zip(edit.records, own, strict=True)
    ]
    return replace(edit, records=tuple(records)) if lead else edit


def _askable(edit: EditInputs, loaded: LoadedBase) -> tuple[EditInputs, dict[str, RequestError]]:
    """The edit without facts and probes that cannot be tokenised or are too long, and why facts cannot."""
    limit = readable(loaded.model)

    def unusable(pairs: Sequence[PromptAnswer]) -> dict[PromptAnswer, bool]:
        texts = [Passage(continued(*pair), len(pair[0]), len(pair[0])) for pair in pairs]
        found = try_locate(loaded.tokenizer, texts, limit=limit)
        return {pair: isinstance(row, RequestError) for pair, row in zip(pairs, found, strict=True)}

    requests = without_conflicts([record.request for record in edit.records], None)
    own = try_locate(loaded.tokenizer, [passage(r) for r in requests], limit=limit, labels=True)
    errors = {r.id: row for r, row in zip(requests, own, strict=True) if isinstance(row, RequestError)}
    sound = [record for record in edit.records if record.request.id not in errors]
    if not sound:
        raise next(iter(errors.values()))
    bad = unusable(questions(sound, probes=edit.probes))
    records = []
    for record in sound:
        target, previous = record.request.target, record.previous
        usable = previous is not None and not bad[record.request.rendered, previous]
        asked = [prompt for prompt in record.paraphrases if not bad.get((prompt, target))]
        kept = [pair for pair in record.neighbours if not bad.get(pair) and not bad.get((pair[0], target))]
        records.append(
            replace(
                record,
                previous=previous if usable else None,
                paraphrases=tuple(asked),
                neighbours=tuple(kept),
            )
        )
    return replace(edit, records=tuple(records)), errors


def _ask(edit: EditInputs, loaded: LoadedBase, phase: str, *, progress: Progress) -> tuple[Sheet, list[str]]:
    """The answers to the facts' prompts, and to their questions through the chat template."""
    pairs = questions(edit.records, probes=edit.probes)
    put = [question for _, question in _questions(edit, loaded)]
    tick = Counter(progress, phase, len(pairs) + len(edit.records) + len(put))
    sheet = answered(loaded.model, loaded.tokenizer, edit.records, pairs, tick=tick)
    said = chat_answers(loaded.model, loaded.tokenizer, put, tick=tick) if put else []
    return sheet, said


def _questions(edit: EditInputs, loaded: LoadedBase) -> list[tuple[str, str]]:
    """(id, rendered question) of the records; none for a model without a chat template."""
    if opening(loaded.tokenizer) is None:
        return []
    return [(r.request.id, render(q, r.request.subject)) for r in edit.records for q in r.questions]


def _requests(edit: EditInputs, loaded: LoadedBase) -> list[EditRequest]:
    """Each record's own request and, for a model with a chat template, its first question, answered by a sentence."""
    found = [record.request for record in edit.records]
    if not edit.settings.chat or opening(loaded.tokenizer) is None:
        return found
    for record in edit.records:
        own = record.request
        for question in record.questions[:1]:
            prompt = asked(loaded.tokenizer, question)
            if prompt.count(PLACEHOLDER) == 1:
                answer = statement(own.rendered, own.target)
                found.append(EditRequest(f"{own.id}/question", prompt, own.subject, answer))
    return found


def refuse_existing(out: Path) -> None:
    """Raise CheckpointError if `out` exists: nothing is ever overwritten."""
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists already: nothing is overwritten; choose another name")


def _sweep(out: Path) -> None:
    """Remove what a killed attempt at this `out` left in its parent directory."""
    # A checkpoint is staged beside the name that it is given, which is itself a staged one.
    for begin in (STAGING, STAGING + STAGING):
        for path in sorted(out.parent.glob(f"{begin}{glob.escape(out.name)}-*")):
            remove(path)


def _text_of(edit: EditInputs, loaded: LoadedBase) -> dict[str, Any]:
    if edit.corpus:
        return {"text": "corpus", "files": [str(path) for path in edit.corpus]}
    samples = OwnSamples(
        loaded.model, loaded.tokenizer, edit.settings, base_digest=loaded.digest, cache=edit.cache
    )
    return {"text": "own samples", **samples.provenance()}


def _inputs(edit: EditInputs, loaded: LoadedBase, lead: str | None = None) -> BuildInputs:
    return BuildInputs(
        requests=_requests(edit, loaded),
        settings=edit.settings,
        cache=edit.cache,
        base_digest=loaded.digest,
        corpus=edit.corpus,
        lead=lead,
        partial=True,
    )
