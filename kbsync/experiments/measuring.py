"""Trials: edit a model with one editor and one set of facts, ask everything, restore it.

A result is stored under a key of everything that it depends on as soon as it is known, so an interrupted experiment
carries on, and experiments that share a trial compute it once.  Several processes with one cache divide the trials
among themselves: each takes those that no other is measuring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from editing.baselines.mend import Trained, train_networks, trained_networks
from editing.calibration.kept import Kept
from editing.calibration.workbench import Workbench
from editing.datasets import Record
from editing.editors.contract import BuildInputs, Edit, EditResult
from editing.editors.registry import editor_named
from editing.errors import EditingError
from editing.evaluation.entropy import ngram_entropy
from editing.evaluation.figures import mean
from editing.evaluation.generation import generate
from editing.evaluation.published import CounterFactCase, PromptAnswer, counterfact
from editing.evaluation.questions import AskedBase
from editing.evaluation.references import TfIdf
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Score, encode_targets, score
from editing.model.weights import swapped
from editing.progress import Progress
from editing.settings import EditSettings
from kbsync import __version__
from kbsync.experiments.attention import edit_attention
from kbsync.experiments.cases import EditCase
from kbsync.experiments.consequences import Background
from kbsync.experiments.gate_measures import GateExam, exam
from kbsync.experiments.limits import OutOfTime, TimeLimit
from kbsync.experiments.practice import MEND
from kbsync.experiments.retrieving import RETRIEVAL, Reading, indexed, reading
from kbsync.experiments.scores import FactScores, TrialScores

ATTENTION = "attention"
"""The name, in settings, of the edit of the attention (`attention.py`)."""
UNEDITED = "unedited"
"""The line of the model as it is."""


@dataclass(frozen=True, slots=True)
class EditTrial:
    """One edit of the base."""

    line: str
    """What it is compared as: the name of an editor, or of a setting."""
    settings: EditSettings
    cases: tuple[EditCase, ...]
    at: float | str = 0.0
    """Where on the line: the number of facts, a value of λ, …"""
    variants: int = 0
    """Further wordings that each fact is edited with."""
    seed: int = 0
    generated: int = 0
    """Facts, from the first one, whose generation prompts are continued (GE, RS)."""

    @property
    def unedited(self) -> bool:
        return self.line == UNEDITED


@dataclass(frozen=True)
class Bench(Workbench):
    """A workbench for experiments."""

    clock: Callable[[], float] = time.perf_counter
    background: Background = field(default_factory=Background)
    """What else follows from an edit."""
    practice: Callable[[], Sequence[Record]] = list
    """Makes the facts that an editor with networks of its own (MEND) is trained on, if it is not trained yet."""
    limit: TimeLimit = field(default_factory=TimeLimit)

    @cached_property
    def kept(self) -> Kept:
        return Kept(self.cache / "experiments")

    def run(self, trials: Sequence[EditTrial]) -> list[TrialScores]:
        """The scores of all trials, in their order."""
        found: dict[int, TrialScores] = {}
        for wait in (False, True):  # first what no other process is measuring
            for number, trial in enumerate(trials):
                if number not in found and (scores := self._measured(trial, wait=wait)) is not None:
                    found[number] = scores
                    self.progress("trials", len(found), len(trials))
        return [found[number] for number in range(len(trials))]

    def scores(self, trial: EditTrial) -> TrialScores:
        """The scores of one trial, from the store if they were measured before."""
        found = self._measured(trial, wait=True)
        assert found is not None
        return found

    def _measured(self, trial: EditTrial, *, wait: bool) -> TrialScores | None:
        """The scores of one trial; without `wait`, None if another process is measuring it."""
        try:
            key = self.kept.key(self._identity(trial))
        except EditingError as error:
            return TrialScores((), error=str(error))
        if (stored := self.kept.get(key, TrialScores)) is not None:
            return stored
        with self.kept.claimed(key, wait=wait) as mine:
            if not mine:
                return None
            if (stored := self.kept.get(key, TrialScores)) is not None:
                return stored
            try:
                return self.kept.put(key, self._scores(trial))
            except OutOfTime as error:
                self.limit.left_out.add(key)
                return TrialScores((), error=str(error))

    def identity(self, settings: EditSettings) -> dict[str, Any]:
        """What every result depends on besides the facts.  Raises EditingError if MEND cannot be trained."""
        networks = self.networks(settings)
        own = {"networks": networks.content} if networks is not None else {}
        return own | {
            "version": __version__,
            "base": self.base.digest,
            "settings": asdict(settings),
            "statistics": self.statistics_content(settings),
            "heldout": self.heldout_name,
            "background": self.background.key,
        }

    def networks(self, settings: EditSettings) -> Trained | None:
        """The trained networks of the editor, if it has any; they are trained now where that was not done yet."""
        if settings.editor != MEND:
            return None
        model, tokenizer, inputs = self.base.model, self.base.tokenizer, self.inputs((), settings, 0)
        if (found := trained_networks(model, tokenizer, inputs)) is not None:
            return found
        with self.kept.claimed("networks"):
            return trained_networks(model, tokenizer, inputs) or train_networks(
                model, tokenizer, inputs, self.practice(), self._watched
            )

    def _identity(self, trial: EditTrial) -> dict[str, Any]:
        return self.identity(trial.settings) | {
            "unedited": trial.unedited,
            "cases": [asdict(case) for case in trial.cases],
            "variants": trial.variants,
            "generated": trial.generated,
        }

    def _scores(self, trial: EditTrial) -> TrialScores:
        """The scores of one trial, measured now; raises OutOfTime."""
        if self.limit.is_up:
            raise OutOfTime
        self.draw_text(trial.settings)
        asked = self.exam(trial)
        if trial.unedited:
            return self.judged(trial, asked)
        began = self.clock()
        try:
            built = self.edited(self.inputs(trial.cases, trial.settings, trial.variants))
        except OutOfTime:
            raise
        except EditingError as error:
            return TrialScores((), error=str(error))
        seconds = self.clock() - began
        with swapped(self.base.model, built.tensors):
            return replace(
                self.judged(trial, asked),
                weight_growth=max(built.cost.growth.values(), default=1.0),
                lam=built.cost.lam,
                seconds=seconds,
                left_out=sum(case.record.request.id in built.failed for case in trial.cases),
            )

    def inputs(self, cases: Sequence[EditCase], settings: EditSettings, variants: int) -> BuildInputs:
        """What an editor is given to edit `cases`."""
        return BuildInputs(
            requests=[request for case in cases for request in case.requests(variants)],
            settings=settings,
            cache=self.cache,
            base_digest=self.base.digest,
            corpus=self.corpus,
            kl_prompts={case.subject: case.protected for case in cases if case.protected},
            kept=[(template, case.subject) for case in cases for template in case.protected],
            partial=True,
        )

    def edited(self, inputs: BuildInputs, edit: Edit | None = None) -> EditResult:
        """The weights that `edit` makes, by default the settings' editor; the model is unchanged.

        Raises EditingError, OutOfTime among its kinds.
        """
        model, tokenizer, tell = self.base.model, self.base.tokenizer, self._watched
        if edit is not None:
            return edit(model, tokenizer, inputs, progress=tell)
        if inputs.settings.editor == ATTENTION:
            return edit_attention(model, tokenizer, inputs, progress=tell)
        if inputs.settings.editor == RETRIEVAL:
            return indexed(inputs)
        editor = editor_named(inputs.settings.editor)
        return editor.edit(model, tokenizer, editor.arranged(inputs), progress=tell)

    @property
    def _watched(self) -> Progress:
        """Progress of an edit, which ends when the time is up."""
        return self.limit.watched(self.progress)

    def exam(self, trial: EditTrial) -> GateExam | None:
        """The gates' questions, which the base answers now; None for retrieval, which is asked through its index."""
        if trial.settings.editor == RETRIEVAL and not trial.unedited:
            return None
        base = AskedBase(self.base.model, self.base.tokenizer, self._base_responses)
        return exam(
            base,
            trial.cases,
            self.background,
            trial.settings,
            variants=trial.variants,
            windows=self.windows,
        )

    @cached_property
    def _base_responses(self) -> Responses:
        return Responses()

    def judged(self, trial: EditTrial, exam: GateExam | None) -> TrialScores:
        """All scores of the model with its current weights."""
        facts, ratio = self.asked(trial), self.perplexity_ratio()
        if exam is None:
            return TrialScores(facts, perplexity_ratio=ratio)
        found = exam.taken(unedited=trial.unedited)
        whole = tuple(replace(fact, **found.by_fact.get(fact.id, {})) for fact in facts)  # type: ignore[arg-type]
        return TrialScores(whole, perplexity_ratio=ratio, **found.of_model)  # type: ignore[arg-type]

    def asked(self, trial: EditTrial) -> tuple[FactScores, ...]:
        """The scores by fact of the model with its current weights."""
        model, tokenizer = self.base.model, self.base.tokenizer
        pairs = list(dict.fromkeys(pair for case in trial.cases for pair in questions(case, trial.variants)))
        read = (
            reading(self.inputs(trial.cases, trial.settings, trial.variants)) if not trial.unedited else str
        )
        asked = [(read(prompt), answer) for prompt, answer in pairs]
        found = dict(zip(pairs, score(model, encode_targets(tokenizer, asked)), strict=True))
        written = self._written(trial, read)
        fact = partial(fact_scores, found=found, variants=trial.variants)
        return tuple(fact(case, written=written.get(case, (None, None))) for case in trial.cases)

    def _written(self, trial: EditTrial, read: Reading) -> dict[EditCase, tuple[float | None, float | None]]:
        """(GE, RS) of the facts that the model writes about."""
        cases = [case for case in trial.cases[: trial.generated] if case.record.generation]
        prompts = [prompt for case in cases for prompt in case.record.generation]
        if not prompts:
            return {}
        texts = generate(self.base.model, self.base.tokenizer, [read(prompt) for prompt in prompts])
        # As in the released evaluation, a text is judged with its prompt.
        whole = {p: p + text.text for p, text in zip(prompts, texts, strict=True)}
        weights = TfIdf.of(text for case in trial.cases for text in case.references)
        found = {}
        for case in cases:
            own = [whole[prompt] for prompt in case.record.generation]
            like = weights.similarity(" ".join(own), " ".join(case.references)) if case.references else None
            found[case] = (mean([ngram_entropy(text) for text in own]), like)
        return found


def questions(case: EditCase, variants: int) -> list[PromptAnswer]:
    """Every (prompt, answer) whose probability is needed to judge one fact."""
    record = case.record
    target = record.request.target
    objects = [target, *([record.previous] if record.previous is not None else [])]
    own = [(p, o) for p in (record.request.rendered, *case.paraphrases(variants)) for o in objects]
    kept = (pair for prompt, answer in record.neighbours for pair in ((prompt, answer), (prompt, target)))
    return [*own, *kept, *record.consequences]


def fact_scores(
    case: EditCase,
    *,
    found: dict[PromptAnswer, Score],
    variants: int = 0,
    written: tuple[float | None, float | None] = (None, None),
) -> FactScores:
    """The measures of one fact from the scores of its `questions`, and from what the model wrote about it."""
    record = case.record
    prompt, target = record.request.rendered, record.request.target
    paraphrases = [found[text, target] for text in case.paraphrases(variants)]
    kept = [found[pair] for pair in record.neighbours]
    published = None
    if record.previous is not None:
        own = CounterFactCase(prompt, target, record.previous, case.paraphrases(variants), record.neighbours)
        published = counterfact([own], found)
    return FactScores(
        id=record.request.id,
        relation=case.relation,
        ES=published.efficacy if published else None,
        PS=published.paraphrase if published else None,
        NS=published.neighbourhood if published else None,
        strict=float(found[prompt, target].strict),
        strict_paraphrase=mean([float(one.strict) for one in paraphrases]),
        strict_neighbour=mean([float(one.strict) for one in kept]),
        accuracy=found[prompt, target].accuracy,
        accuracy_paraphrase=mean([one.accuracy for one in paraphrases]),
        specificity=mean([one.accuracy for one in kept]),
        two_hop=mean([float(found[pair].strict) for pair in record.consequences]),
        GE=written[0],
        RS=written[1],
    )
