"""One share of an exam: what base, candidate and live answer about some facts, for the build that judges them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from editing.editors.contract import EditResult
from editing.evaluation.cases import Known
from editing.evaluation.isolated import stated_alone
from editing.evaluation.metrics import text_windows
from editing.evaluation.question_set import QuestionSet
from editing.evaluation.questions import AskedBase, build_questions
from editing.evaluation.responses import Responses
from editing.evaluation.subject_questions import with_subject_questions
from editing.model.weights import swapped
from editing.progress import Progress, counting
from editing.spec import BuildSpec
from editing.storage.checkpoints import read_changed, read_manifest
from editing.worker.candidates import as_stored
from editing.worker.exam_answers import ExamAnswers, weights_digest
from editing.worker.kept_base import KeptBase
from editing.worker.screening import edit_requests


def answer_share(
    kept: KeptBase, spec: BuildSpec, known: Known, built: EditResult | None, progress: Progress
) -> None:
    """Write the answers about the facts of `spec.share` to the file that `spec.answered` names.

    Which share a fact is in follows from its id.  What is asked about the candidate as a whole, and what only the base
    is asked, is a bounded number of questions, which are left to the build, as are answers for display.
    """
    number, of = spec.share
    own = {fact.id for fact in spec.facts if _lot(fact.id) % of == number}
    model, tokenizer = kept.loaded.model, kept.loaded.tokenizer
    base = AskedBase(model, tokenizer, Responses(), only=own)
    with counting(progress, "questions", 0) as base.tick:
        asked = _questions(base, kept.lead(spec), spec, known)
    found = ExamAnswers({weights_digest(spec.base_digest, {}): base.responses})
    with counting(progress, "judge base", asked.size) as tick:
        base.responses.speak(model, tokenizer, asked, tick)
    for phase, tensors in (("judge candidate", as_stored(spec, built)), ("judge live", _live(spec))):
        if tensors:
            responses = Responses(base=base.responses)
            with swapped(model, tensors), counting(progress, phase, asked.size) as tick:
                responses.respond(model, tokenizer, asked, tick)
            found.models[weights_digest(spec.base_digest, tensors)] = responses
    if built is not None:
        new = [f for f in spec.facts if f.id in asked.facts and not known[f.id].known and not f.in_live]
        requests = [edit_requests(fact)[0] for fact in new]
        with counting(progress, "judge alone", len(requests)) as tick:
            stated = stated_alone(model, tokenizer, requests, built, tick=tick)
        found.alone = {id: (built.groups[id], one) for id, one in stated.items()}
    found.write(Path(spec.answered[0]))


def _questions(base: AskedBase, lead: str, spec: BuildSpec, known: Known) -> QuestionSet:
    """What a build asks all its models about single facts, of the facts that `base` asks about."""
    about_facts = replace(with_subject_questions(base, lead, spec, known), refusals=(), canaries=())
    windows = [] if spec.heldout is None else text_windows(base.model, base.tokenizer, Path(spec.heldout))
    asked = build_questions(base, about_facts, known, windows)
    sampled = {
        case.prompt for fact in asked.facts.values() for cases in fact.sampled.values() for case in cases
    }
    texts = tuple(prompt for prompt in asked.texts if prompt in sampled)
    return replace(asked, candidate={}, texts=texts, windows=(), readings={}, ability={}, unaided={})


def _live(spec: BuildSpec) -> Mapping[str, Tensor]:
    """What live changes of the base; empty without live, or if it was built from another one."""
    if spec.live is None or read_manifest(Path(spec.live)).base != spec.base_digest:
        return {}
    return read_changed(Path(spec.base), Path(spec.live))


def _lot(id: str) -> int:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:4])
