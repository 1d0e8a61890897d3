"""One round of the worker: from a spec to a report.  The base stays loaded between rounds.

    ask the base → build (reusing every cached δ) → write the checkpoint → read its tensors back
    → judge what was read back, together with live → report

The written checkpoint is what is judged, in the dtype in which it will be served.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.cost import Cost
from editing.crashpoints import crash_point
from editing.editors.contract import EditResult
from editing.editors.registry import editor_named
from editing.errors import SpecError
from editing.evaluation.cases import Known
from editing.evaluation.evidence import Evidence
from editing.evaluation.isolated import stated_alone
from editing.evaluation.metrics import answers, text_windows, weight_growth
from editing.evaluation.question_set import QuestionSet
from editing.evaluation.questions import AskedBase, build_questions, known_facts
from editing.evaluation.reporting import fact_reports, measured
from editing.evaluation.responses import DESCRIBED, Responses
from editing.evaluation.subject_questions import with_subject_questions
from editing.model.hooks import fused
from editing.model.memory import peak_bytes
from editing.model.weights import swapped
from editing.preflight import Preflight, check_disk, reach
from editing.progress import Counter, counting
from editing.spec import BuildReport, BuildSpec, FactReport, FactSpec
from editing.storage.assembling import clear
from editing.storage.checkpoints import read_changed, read_manifest, verify
from editing.storage.loaded import load_base
from editing.worker.asking import answered
from editing.worker.beginnings import without_first_tokens
from editing.worker.candidates import Written, as_stored, write_candidate
from editing.worker.conversations import with_conversations
from editing.worker.derived import with_derived
from editing.worker.exam_answers import ExamAnswers
from editing.worker.exam_share import answer_share
from editing.worker.finished import is_finished
from editing.worker.kept_base import KeptBase
from editing.worker.parts import PARTS, inputs_of, part_of_build
from editing.worker.probing import answer_secretly
from editing.worker.protocol import Channel
from editing.worker.screening import Failures, edit_requests, screened
from editing.worker.versions import versions_of


class Workshop:
    """Runs rounds; keeps the base between them."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._kept: KeptBase | None = None

    def forget(self) -> None:
        """Drop the base: after an error, its state is unknown."""
        self._kept = None
        gc.unfreeze()  # what a process loads in advance is left out of its collections (`process.py`)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def round(self, path: Path) -> Path:
        """Run the spec in `path`; returns the path of the report, in the same directory.  Raises EditingError.

        If a report for this spec already exists, it is returned: a retried round is a no-op.
        """
        spec = BuildSpec.read(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        report_path = path.with_name("report.json")
        if is_finished(report_path, digest):
            return report_path
        torch.set_num_threads(spec.threads or torch.get_num_threads())
        started = time.perf_counter()
        kept = self.load(Path(spec.base), spec.base_digest, spec.device)
        with fused(kept.loaded.model):
            report = _Round(spec, digest, kept, self.channel).run()
        seconds = {**report.cost.seconds, "total": time.perf_counter() - started}
        cost = replace(report.cost, seconds=seconds, peak_memory_bytes=peak_bytes())
        report = replace(report, cost=cost)
        crash_point("editing.worker:before-report")
        report.write(report_path)
        crash_point("editing.worker:after-report")
        return report_path

    def load(self, directory: Path, digest: str, device: str | None) -> KeptBase:
        """The base in `directory`, loaded unless it is kept.  Raises EditingError if it has another digest."""
        kept = self._kept
        if kept is not None and (kept.loaded.digest, kept.device) == (digest, device):
            return kept
        self.forget()
        loaded = load_base(directory, device=device, progress=self.channel.progress)
        if loaded.digest != digest:
            raise SpecError(f"the base in {directory} is {loaded.digest}, the spec asks for {digest}")
        self._kept = KeptBase(loaded, device)
        return self._kept


class _Round:
    """The steps of one round."""

    def __init__(self, spec: BuildSpec, digest: str, kept: KeptBase, channel: Channel) -> None:
        self.spec, self.digest, self.kept, self.channel = spec, digest, kept, channel
        self.model, self.tokenizer = kept.loaded.model, kept.loaded.tokenizer
        self.seconds: dict[str, float] = {}
        self.cost, self.failures = Cost(), Failures()
        self.written: Written | None = None
        self.stored = ExamAnswers.read(map(Path, spec.answered if spec.mode != "exam" else ()))

    def run(self) -> BuildReport:
        given = self.spec
        if given.mode in PARTS[1:] and (begun := self.kept.begun(given)) is not None:
            self.spec, known = begun
            return self._part(self._edited(known))
        with self._timed("known"):
            self.spec = without_first_tokens(self.tokenizer, self.kept.lead(self.spec), self.spec)
            self.spec = screened(self.model, self.tokenizer, self.spec, self.failures)
            base = AskedBase(self.model, self.tokenizer, self.kept.base)
            with self._counting("known", len(self.spec.facts)) as base.tick:
                known = known_facts(base, self.spec.facts)
        crash_point("editing.worker:after-known")
        if self.spec.mode == "ask":
            facts = tuple(FactReport(id, b.known, b.answer, b.answer, b.known) for id, b in known.items())
            said = answered(self.model, self.tokenizer, self.spec)
            return replace(self._report("", facts, ()), answers=said)
        self._converse(known)
        if self.spec.mode in PARTS:
            self.kept.begin(given, self.spec, known)
            return self._part(self._edited(known))
        built = self._build(known) if self.spec.mode in ("build", "view", "exam") else None
        if built is not None and self.spec.edit_consequences:
            built = self._derived(known, built)
        if self.spec.mode == "exam":
            answer_share(self.kept, self.spec, known, built, self.channel.progress)
            return self._report("", (), ())
        checkpoint = self._checkpoint(built) if self.spec.out else ""
        if self.spec.mode == "view":
            return self._viewed(known, built, checkpoint)
        with self._timed("judge"):
            self.stored.give(self.kept.base, self.spec.base_digest, {})
            with self._counting("questions", 0) as base.tick:
                spec = with_subject_questions(base, self.kept.lead(self.spec), self.spec, known)
                asked = build_questions(base, spec, known, self._windows())
            evidence = self._judge(asked, known, built, checkpoint)
            answer_secretly(self.model, self.tokenizer, self.spec, checkpoint)
        return self._report(checkpoint, fact_reports(evidence), measured(evidence))

    def _converse(self, known: Known) -> None:
        """Add the facts' questions to their requests; questions that cannot be tokenised are left out."""
        more = with_conversations(self.tokenizer, self.spec, {id for id, b in known.items() if b.known})
        if more is not self.spec:
            self.spec = screened(self.model, self.tokenizer, more, self.failures)

    def _part(self, edited: list[FactSpec]) -> BuildReport:
        """A report without a checkpoint on a part of a build of `edited`: its estimate, or a share of its work."""
        if edited:
            inputs, progress = inputs_of(self.spec, self.kept.lead(self.spec), edited), self.channel.progress
            self.cost = part_of_build(self.model, self.tokenizer, self.spec, inputs, progress)
        return self._report("", (), ())

    def _viewed(self, known: Known, built: EditResult | None, checkpoint: str) -> BuildReport:
        """A report on what was edited, with the answers to the spec's prompts; nothing is judged."""
        with self._timed("ask"), swapped(self.model, as_stored(self.spec, built)):
            said = answers(self.model, self.tokenizer, self.spec.prompts)
        facts = tuple(FactReport(id, b.known, b.answer, "", None) for id, b in known.items())
        return replace(self._report(checkpoint, facts, ()), answers=tuple(said))

    def _edited(self, known: Known) -> list[FactSpec]:
        """The facts that need an edit."""
        return [fact for fact in self.spec.facts if not known[fact.id].known]

    def _build(self, known: Known) -> EditResult | None:
        """Edit all facts that can be edited; None if none is left.

        A fact whose own request fails is left out with all its wordings; the rest is then built again, from the
        cache.
        """
        editor = editor_named(self.spec.settings.editor)
        while edited := self._edited(known):
            with self._timed("build"):
                built = editor.edit(
                    self.model,
                    self.tokenizer,
                    editor.arranged(inputs_of(self.spec, self.kept.lead(self.spec), edited)),
                    planned=self._expect,
                    progress=self.channel.progress,
                )
            self.cost = built.cost
            if built.cost.leverage:
                self.channel.log(
                    f"lambda: {reach(built.cost.lam, built.cost.realised)}", **built.cost.solved()
                )
            crash_point("editing.worker:after-build")
            for fact in edited:
                self.failures.note_all(fact, built.failed)
            halved = [f for f in edited if f.id in self.failures.facts and len(f.wordings()) > 1]
            self.spec = replace(self.spec, facts=self.failures.without(self.spec.facts))
            if not halved:
                return built
        return None

    def _derived(self, known: Known, built: EditResult) -> EditResult | None:
        """Edit also what follows from the facts and the edited model does not infer; all δs so far are reused."""
        with self._timed("infer"), swapped(self.model, built.tensors), self._counting("infer", 0) as tick:
            more = with_derived(self.model, self.tokenizer, self.spec, known, tick)
        if more is self.spec:
            return built
        self.spec = screened(self.model, self.tokenizer, more, self.failures)
        before, rebuilt = self.cost, self._build(known)
        self.cost = self.cost.after(before)
        return rebuilt

    def _expect(self, expected: Preflight) -> None:
        self.channel.expect(expected)
        check_disk(expected, Path(self.spec.cache), Path(self.spec.out) if self.spec.out else None)

    def _checkpoint(self, built: EditResult | None) -> str:
        """Write the checkpoint, or verify the kept one; returns its digest."""
        out = Path(self.spec.out)
        self.channel.progress("checkpoint", 0, 1)
        with self._timed("checkpoint"):
            if self.spec.mode == "judge":
                digest = verify(out)
            else:
                clear(out, None if self.spec.live is None else Path(self.spec.live))
                asked = Responses(base=self.kept.base)
                self.written = write_candidate(self.model, self.tokenizer, self.spec, built, asked)
                digest = self.written.digest
                crash_point("editing.worker:after-checkpoint")
        self.channel.progress("checkpoint", 1, 1)
        return digest

    def _judge(self, asked: QuestionSet, known: Known, built: EditResult | None, checkpoint: str) -> Evidence:
        total = asked.size
        with self._counting("judge base", total) as tick:
            self.kept.base.speak(self.model, self.tokenizer, asked, tick)
        alone = self._alone(asked, known, built)
        tensors = read_changed(Path(self.spec.base), Path(self.spec.out))
        said = self.written.answers(tensors) if self.written else None
        candidate = (said or Responses(base=self.kept.base)) if tensors else self.kept.base
        growth = self._growth(tensors)
        self.stored.give(candidate, self.spec.base_digest, tensors)
        with swapped(self.model, tensors):
            with self._counting("judge candidate", total) as tick:
                candidate.respond(self.model, self.tokenizer, asked, tick)
            candidate.explain(self.model, self.tokenizer, asked.facts.values())
        described = [fact.id for fact in self._new(asked, known)][:DESCRIBED]
        live, live_growth = self._live(asked, total, described)
        self.kept.keep(checkpoint, candidate)
        return Evidence(
            tokenizer=self.tokenizer,
            facts=self.spec.facts,
            known=known,
            asked=asked,
            base=self.kept.base,
            candidate=candidate,
            live=live,
            alone=alone,
            groups=built.groups if built else {},
            growth=growth,
            live_growth=live_growth,
            described=frozenset(described),
        )

    def _new(self, asked: QuestionSet, known: Known) -> list[FactSpec]:
        """The facts that this build adds."""
        facts = (fact for fact in self.spec.facts if fact.id in asked.facts)
        return [fact for fact in facts if not known[fact.id].known and not fact.in_live]

    def _alone(self, asked: QuestionSet, known: Known, built: EditResult | None) -> dict[str, bool]:
        if built is None:
            return {}
        requests = [edit_requests(fact)[0] for fact in self._new(asked, known)]
        stated = self.stored.stated_alone(built.groups)
        missing = [request for request in requests if request.id not in stated]
        with self._counting("judge alone", len(missing)) as tick:
            stated |= stated_alone(self.model, self.tokenizer, missing, built, tick=tick)
        return {request.id: stated[request.id] for request in requests if request.id in stated}

    def _live(
        self, asked: QuestionSet, total: int, described: Sequence[str]
    ) -> tuple[Responses | None, float | None]:
        """Live's answers to the same questions, and its weight growth; without live, the base is asked instead.

        What is asked of the base are only the answers that are shown for the `described` facts.
        """
        shown = [asked.facts[id] for id in described]
        manifest = None if self.spec.live is None else read_manifest(Path(self.spec.live))
        if manifest is not None and manifest.base != self.spec.base_digest:
            self.channel.log("live was built from another base: it is not compared", live=self.spec.live)
            manifest = None
        if self.spec.live is None or manifest is None:
            self.kept.base.explain(self.model, self.tokenizer, shown)
            return None, None
        tensors = read_changed(Path(self.spec.base), Path(self.spec.live))
        new = Responses(base=self.kept.base)
        kept = self.kept.checkpoints.get(manifest.digest, new) if tensors else self.kept.base
        responses = self.kept.keep(manifest.digest, kept)
        self.stored.give(responses, self.spec.base_digest, tensors)
        growth = self._growth(tensors)
        with swapped(self.model, tensors), self._counting("judge live", total) as tick:
            responses.respond(self.model, self.tokenizer, asked, tick)
            responses.explain(self.model, self.tokenizer, shown)
        return responses, growth

    def _growth(self, tensors: Mapping[str, Tensor]) -> float:
        """Weight growth of `tensors` relative to the base, whose weights the model currently has."""
        return weight_growth(dict(self.model.named_parameters()), tensors)

    def _windows(self) -> list[Tensor]:
        heldout = self.spec.heldout
        return [] if heldout is None else text_windows(self.model, self.tokenizer, Path(heldout))

    def _report(self, digest: str, facts: tuple[FactReport, ...], measures: tuple[Any, ...]) -> BuildReport:
        return BuildReport(
            run=self.spec.run,
            base_digest=self.spec.base_digest,
            checkpoint=self.spec.out if digest else "",
            checkpoint_digest=digest,
            facts=facts,
            measures=measures,
            cost=replace(self.cost, seconds={**self.cost.seconds, **self.seconds}),
            versions=versions_of(self.model),
            failures=self.failures.report(),
            spec_digest=self.digest,
        )

    def _counting(self, phase: str, total: int) -> AbstractContextManager[Counter]:
        return counting(self.channel.progress, phase, total)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - started
