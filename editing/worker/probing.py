"""Answering a candidate's secret questions, so that a server can be asked them after a deploy.

The candidate is the one that was judged, read back from disk; live and the base answer the same questions, so that it
can be told what a server serves instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editing.evaluation.secret_answers import (
    answers,
    described,
    exactly,
    greedy,
    precision,
    shortened,
    worded,
)
from editing.model.weights import swapped
from editing.secret_probes import ProbeAnswer, SecretProbe, SecretProbes, SecretQuestions
from editing.spec import BuildSpec
from editing.storage.checkpoints import read_changed, read_manifest


def answer_secretly(model: Any, tokenizer: Any, spec: BuildSpec, checkpoint: str) -> None:
    """Write the answers of the candidate with the digest `checkpoint`; `model` has the base's weights.

    Does nothing if the spec names no questions.  Questions to which the candidate has no certain answer are left out.
    """
    if spec.secret_questions is None or spec.secret_answers is None:
        return
    questions = SecretQuestions.read(Path(spec.secret_questions)).questions
    prompts = worded(model, tokenizer, questions)
    base = answers(model, tokenizer, prompts)
    with swapped(model, read_changed(Path(spec.base), Path(spec.out))):
        pairs = greedy(model, tokenizer, prompts)
        exact = exactly(model, pairs)
        found = precision(model, pairs, exact)
    judged = described(tokenizer, pairs, exact)
    name, live = _live(model, tokenizer, spec, prompts)
    probes = [
        SecretProbe(
            prompt=prompts[index],
            kind=question.kind,
            judged=judged[index],
            base=base[index],
            certain=shortened(judged[index], found.certain[index]),
            live=live[index] if live else None,
            context=bool(question.context),
        )
        for index, question in enumerate(questions)
    ]
    certain = tuple(probe for probe in probes if probe.certain)
    SecretProbes(checkpoint, name, certain, found.deviations).write(Path(spec.secret_answers))


def _live(model: Any, tokenizer: Any, spec: BuildSpec, prompts: list[str]) -> tuple[str, list[ProbeAnswer]]:
    """Name and answers of live; neither if there is none, or one that was built from another base."""
    if spec.live is None or read_manifest(Path(spec.live)).base != spec.base_digest:
        return "", []
    with swapped(model, read_changed(Path(spec.base), Path(spec.live))):
        return Path(spec.live).name, answers(model, tokenizer, prompts)
