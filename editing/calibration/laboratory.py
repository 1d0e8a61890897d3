"""Trials on one loaded base: edit with a candidate's settings, ask, and restore the weights.

Every result is kept under a key of everything it depends on, and the δs in the cache that all builds share, so a
repeated or interrupted search computes nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from editing.calibration.asking import Questions, ask, requests_of
from editing.calibration.counterfactuals import Counterfactual
from editing.calibration.judgement import Counts, Judgement, SearchPoint
from editing.calibration.kept import Kept
from editing.calibration.pace import TrialPace, residuals_of
from editing.calibration.statements import WordedTriple
from editing.calibration.workbench import Workbench
from editing.editors.contract import BuildInputs, EditResult
from editing.editors.registry import editor_named
from editing.evaluation.isolated import stated_alone
from editing.model.weights import swapped


@dataclass(frozen=True)
class Laboratory(Workbench):
    """A workbench on which settings are tried."""

    clock: Callable[[], float] = time.monotonic
    pace: TrialPace = field(default_factory=TrialPace)
    stated: dict[Hashable, Counts] = field(default_factory=dict)
    """What δs are → the facts that they state alone, which trials with other λ, ridge or kept relations share."""

    def prepare(self, candidate: SearchPoint) -> None:
        """Draw the text that every trial needs, so that the first trial takes no longer than its like."""
        self.draw_text(candidate.settings)

    @cached_property
    def kept(self) -> Kept:
        return Kept(self.cache / "calibration")

    def judged(
        self, candidate: SearchPoint, edits: Sequence[Counterfactual], untouched: Sequence[WordedTriple]
    ) -> Judgement:
        """Edit with `candidate` and ask the edited model; the base is unchanged.

        Raises the errors of the editor if no fact at all can be edited.
        """
        key = self.kept.key(self._identity(candidate, edits, untouched))
        found = self.kept.get(key, Judgement)
        if found is None:
            began = self.clock()
            judged = self._judge(candidate, Questions(edits, untouched))
            found = self.kept.put(key, replace(judged, seconds=self.clock() - began))
        self.pace.add(candidate, edits, found.seconds, found.reusable)
        return found

    def expected(
        self, candidate: SearchPoint, edits: Sequence[Counterfactual], untouched: Sequence[WordedTriple]
    ) -> float:
        """Seconds that `judged` will take, by the pace so far; 0 for a trial that was made before."""
        key = self.kept.key(self._identity(candidate, edits, untouched))
        known = self.kept.get(key, Judgement) is not None
        return 0.0 if known else self.pace.expected(candidate, edits)

    def _identity(
        self, candidate: SearchPoint, edits: Sequence[Counterfactual], untouched: Sequence[WordedTriple]
    ) -> dict[str, Any]:
        return {
            "candidate": asdict(candidate),
            "base": self.base.digest,
            "statistics": self.statistics_content(candidate.settings),
            "heldout": self.heldout_name,
            "edits": [asdict(edit) for edit in edits],
            "untouched": [asdict(one) for one in untouched],
        }

    def _judge(self, candidate: SearchPoint, about: Questions) -> Judgement:
        began = time.monotonic()
        model, tokenizer = self.base.model, self.base.tokenizer
        editor = editor_named(candidate.settings.editor)
        inputs = editor.arranged(self._inputs(candidate, about.edits))
        built = editor.edit(model, tokenizer, inputs, progress=self.progress)
        alone = self._alone(candidate, built, about.edits)
        with swapped(model, built.tensors):
            answers = ask(model, tokenizer, about)
            ratio = self.perplexity_ratio()
        published = answers.published()
        phases = built.cost.seconds  # of this clock, whatever the trials are timed by
        reusable = sum(phases.get(name, 0.0) for name in ("targets", "statistics"))
        return Judgement(
            facts=len(about.edits),
            efficacy=answers.efficacy(),
            probability=answers.probability(),
            paraphrase=answers.paraphrase(),
            neighbourhood=answers.neighbourhood(),
            same_subject=answers.same_subject(),
            known_retention=answers.untouched(),
            said=answers.said,
            alone=alone,
            es=published.efficacy,
            ps=published.paraphrase,
            ns=published.neighbourhood,
            s=published.score,
            scored=answers.scored(),
            paraphrase_probability=answers.paraphrase_probability(),
            perplexity_ratio=ratio,
            weight_growth=max(built.cost.growth.values(), default=1.0),
            lam=built.cost.lam,
            leverage={str(layer): value for layer, value in built.cost.leverage.items()},
            reusable=min(1.0, reusable / max(time.monotonic() - began, 1e-9)),
        )

    def _alone(self, candidate: SearchPoint, built: EditResult, edits: Sequence[Counterfactual]) -> Counts:
        key = residuals_of(candidate, edits), tuple(edits)
        if key not in self.stated:
            requests = [edit.request() for edit in edits]
            editable = [request for request in requests if request.id in built.groups]
            stated = stated_alone(self.base.model, self.base.tokenizer, editable, built) if editable else {}
            self.stated[key] = tuple((int(stated.get(request.id, False)), 1) for request in requests)
        return self.stated[key]

    def _inputs(self, candidate: SearchPoint, edits: Sequence[Counterfactual]) -> BuildInputs:
        settings = candidate.settings
        tokenizer = self.base.tokenizer
        return BuildInputs(
            requests=[
                request
                for edit in edits
                for request in requests_of(tokenizer, edit, variants=candidate.variants, chat=settings.chat)
            ],
            settings=settings,
            cache=self.cache,
            base_digest=self.base.digest,
            corpus=self.corpus,
            kl_prompts={edit.statement.subject: [one.prompt for one in edit.protected] for edit in edits},
            kept=[(one.templates[0], one.subject) for edit in edits for one in edit.protected],
            partial=True,
        )
