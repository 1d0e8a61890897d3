"""The interface of the editing package: a build is a pure function from `BuildSpec` to `BuildReport`.

Both are JSON files.  The worker that computes the function has no access to the database; the process that
writes the spec handles no tensors.  Torch-free.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from editing.consequence import Consequence
from editing.cost import Cost
from editing.durable import write_file
from editing.errors import SpecError
from editing.fact_failure import FactFailure
from editing.json_decode import decode
from editing.json_files import read_json, to_json
from editing.modes import Mode
from editing.old_reports import upgraded
from editing.refusals import PHRASES
from editing.requests import PLACEHOLDER
from editing.settings import EditSettings
from editing.undecided import UndecidedAnswer

SPEC_VERSION = 1
REPORT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt and its expected answer (None: whatever the base answers)."""

    prompt: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """A further statement of a fact with other names: its own prompt, subject and answer."""

    prompt: str
    """Template with one `{}`."""
    subject: str
    target: str


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One fact of the view, with the probes that judge it."""

    id: str
    prompt: str
    """Template with one `{}`."""
    subject: str
    target: str
    previous: str | None = None
    """The previous value of the slot (o_c of the paper), for the probability comparison of ES/PS."""
    known: bool | None = None
    """Whether this base states it unedited; None: the worker asks the base."""
    base_answer: str | None = None
    """The base's answer, if it was asked before (with `known`); it is then not asked again."""
    in_live: bool = False
    """Whether the live checkpoint's view contains it (it then counts towards retention)."""
    examined: bool = False
    """Whether it is asked everything that a new fact is asked, although it is in live."""
    variants: tuple[str, ...] = ()
    """Further templates that are also edited, as facts of the same key group or of separate groups."""
    questions: tuple[str, ...] = ()
    """Questions with one `{}` that are also edited, rendered with the base's chat template; the answer is the
    fact's own prompt and target as a sentence."""
    kept: tuple[str, ...] = ()
    """Templates around the subject whose keys `settings.keep` protects; none of them judges the fact."""
    kept_questions: tuple[str, ...] = ()
    """The same as questions, which are rendered with the base's chat template."""
    further: tuple[Wording, ...] = ()
    """Further edits: the fact under another name of its subject, or in the inverse direction."""
    paraphrases: tuple[str, ...] = ()
    """Rendered prompts."""
    reversed: tuple[Case, ...] = ()
    """The fact in the inverse direction, each prompt with its answer; judged with the paraphrases."""
    neighbours: tuple[Case, ...] = ()
    same_subject: tuple[Case, ...] = ()
    other_relations: tuple[str, ...] = ()
    """Templates that ask the base what it knows of a subject of which the ledger knows nothing else; of the last, if it
    knows nothing, its own continuation is kept."""
    target_names: tuple[str, ...] = ()
    """Aliases of the target, which answer as well as it does."""
    previous_names: tuple[str, ...] = ()
    """Aliases of `previous`."""
    unseen_questions: tuple[str, ...] = ()
    """Questions with one `{}` that are not edited; asked through the base's chat template."""
    conversations: tuple[str, ...] = ()
    """Rendered conversations that end where the answer begins; the worker makes them of `unseen_questions`."""
    system_conversations: tuple[str, ...] = ()
    """The same after `BuildSpec.system_prompt`, for a template that takes a system message."""
    thinking_conversations: tuple[str, ...] = ()
    """The same with thinking on, for a template that has a switch for it: the answer follows the thought."""
    thinking_system_conversations: tuple[str, ...] = ()
    """The same with both, for a template that has both."""
    renamed: tuple[str, ...] = ()
    """Rendered prompts that give the subject another name, none of which is edited."""
    consequences: tuple[Consequence, ...] = ()
    """What follows from the fact; it is asked, and edited if `BuildSpec.edit_consequences`."""

    @property
    def derived(self) -> tuple[Consequence, ...]:
        """The consequences that are edited."""
        return tuple(o for o in self.consequences if Wording(o.prompt, o.subject, o.target) in self.further)

    contexts: tuple[str, ...] = ()
    """Ordinary texts after which its prompt is asked; the worker chooses them."""
    about_subject: tuple[str, ...] = ()
    """Sentences about its subject after which its prompt is asked; the worker makes them of the base's answers."""

    def wordings(self) -> tuple[Wording, ...]:
        """All requests of the fact, its own prompt first."""
        own = (Wording(template, self.subject, self.target) for template in (self.prompt, *self.variants))
        return (*own, *self.further)


@dataclass(frozen=True, slots=True)
class BaseAnswer:
    """The answers of the unedited base to a fact's prompts."""

    known: bool
    """Whether it states the fact on all of them."""
    answer: str
    """The answer to the fact's own prompt."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """Everything a build depends on."""

    run: str
    base: str
    """Directory of the imported base."""
    base_digest: str
    out: str
    """Path of the finished checkpoint directory (built in the same parent directory, then renamed).

    What a killed attempt at the same spec left there is replaced, unless it is live."""
    cache: str
    """Directory of δs and statistics, shared by all runs."""
    corpus: tuple[str, ...]
    """Text files for the statistics."""
    heldout: str | None
    """Text file for measuring perplexity."""
    facts: tuple[FactSpec, ...]
    settings: EditSettings = field(default_factory=EditSettings)
    live: str | None = None
    """Directory of the live checkpoint, for comparison."""
    canaries: tuple[Case, ...] = ()
    refusals: tuple[str, ...] = ()
    """Prompts that the candidate has to refuse if the base does; put through the base's chat template."""
    refusal_phrases: tuple[str, ...] = PHRASES
    """How a refusal begins."""
    generate: int = 64
    """How many new facts are answered freely (0: none)."""
    system_prompt: str = ""
    """System message of one conversation about each fact that is answered freely; empty: no such conversation."""
    edit_consequences: bool = False
    """Whether consequences that the edited model does not state are edited as well."""
    retention_sample: int = 5_000
    """If live has more facts than this, retention is sampled."""
    threads: int | None = None
    forms: tuple[str, ...] = ()
    """Further forms in which the candidate is written, each in a folder of the checkpoint."""
    form_options: dict[str, dict[str, int]] = field(default_factory=dict)
    """What the settings say of a form, by its name."""
    device: str | None = None
    """`cpu`, `cuda`, … or `auto` (distributed over the available devices); None: a GPU if there is one."""
    mode: Mode = "build"
    share: tuple[int, int] = (0, 1)
    """(number, of how many): what the modes `statistics`, `residuals`, `keys` and `exam` compute."""
    step: int = 0
    """Index of the edited layer that the modes `keys` and `solve` are about."""
    prompts: tuple[str, ...] = ()
    """What `view` asks the edited model, and `ask` the checkpoint in `live`, or the base; the report has `answers`."""
    wanted: str | None = None
    """File of all that is wanted, for the checkpoint's retrieval pack (`editing.storage.pack`); None: no pack."""
    wanted_digest: str = ""
    """SHA-256 of that file."""
    secret_questions: str | None = None
    """File of questions (`editing.secret_probes`) that the candidate is asked besides, which no report shows."""
    secret_answers: str | None = None
    """File that their answers are written to."""
    answered: tuple[str, ...] = ()
    """Files of answers (`editing.worker.exam_answers`): the one that mode `exam` writes, those that a `build` reads."""
    version: int = SPEC_VERSION

    def write(self, path: Path) -> None:
        """Write the spec to `path`, atomically and synced."""
        write_file(path, to_json(asdict(self)))

    @property
    def digest(self) -> str:
        """SHA-256 of the file that `write` creates; a report uses it to identify its spec."""
        return hashlib.sha256(to_json(asdict(self))).hexdigest()

    @classmethod
    def read(cls, path: Path) -> BuildSpec:
        """The spec in `path`; raises `editing.errors.SpecError` naming what is wrong."""
        spec = decode(cls, read_json(path, SPEC_VERSION), path.name)
        spec.check(str(path))
        return spec

    def check(self, where: str) -> None:
        """Raise SpecError if the spec asks for something impossible."""
        ids = Counter(fact.id for fact in self.facts)
        twice = [id for id, count in ids.items() if count > 1]
        if twice:
            raise SpecError(f"{where}: fact {twice[0]!r} is listed {ids[twice[0]]} times; list it once")
        for fact in self.facts:
            for wording in fact.wordings():
                if wording.prompt.count(PLACEHOLDER) != 1:
                    raise SpecError(
                        f"{where}: fact {fact.id!r}: {wording.prompt!r} needs {PLACEHOLDER} exactly once"
                    )
                if not wording.subject.strip() or not wording.target.strip():
                    raise SpecError(f"{where}: fact {fact.id!r} has an empty subject or target")
            for text in (
                *fact.other_relations,
                *fact.questions,
                *fact.unseen_questions,
                *fact.kept,
                *fact.kept_questions,
            ):
                if text.count(PLACEHOLDER) != 1:
                    raise SpecError(f"{where}: fact {fact.id!r}: {text!r} needs {PLACEHOLDER} exactly once")
            if any(case.target is None for case in fact.reversed):
                raise SpecError(f"{where}: fact {fact.id!r} is asked the other way round without an answer")
        number, of = self.share
        if not (0 <= number < of and self.step >= 0):
            raise SpecError(f"{where}: share {number} of {of} or step {self.step} does not exist; 0 is first")
        if self.mode in ("build", "judge") and not self.out:
            raise SpecError(f"{where}: mode {self.mode!r} needs `out`, the directory of the checkpoint")


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """One question that judged a fact, other than its own prompt."""

    kind: str
    """Name of the probe, given by its measure: `paraphrase`, `neighbour`, `same_subject`, …"""
    prompt: str
    expected: str
    """The expected answer: the fact's target, or what the base answers."""
    answer: str
    """The candidate's answer; empty if too many questions failed to ask all of them again."""
    passed: bool
    before: str | None = None
    """The answer of live, or of the base if nothing is live; None if it was not asked for display."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured figure that a gate can judge.

    A proportion has `k` of `n`; `exhaustive` means that the n are all there are.  `live` is the same figure for
    the live checkpoint on the same cases, if there is one.  A sample also has (answered as expected, asked) for each
    fact in it, since answers about one fact are not independent.
    """

    name: str
    value: float | None
    n: int = 0
    k: int | None = None
    exhaustive: bool = True
    live: float | None = None
    live_k: int | None = None
    unit: str = ""
    by_fact: tuple[tuple[int, int], ...] = ()
    pairs: tuple[tuple[int, int, int], ...] = ()
    """Of a sample that live answered as well, for each fact: questions, those that only the candidate answered as
    expected, those that only live did."""
    base: float | None = None
    """The same figure for the unedited base, where it was asked the same."""
    ability: tuple[int, int] | None = None
    """(answered as expected, asked) of the base, in such questions about facts that it states unedited."""
    chance: float | None = None
    """The share of right answers that the base has to exceed for the figure to mean something; None: any will do."""
    ability_by_fact: tuple[tuple[int, int], ...] = ()
    """`ability` of each of these facts, where there is a `chance`."""


@dataclass(frozen=True, slots=True)
class FactReport:
    """The outcome of one fact of the view."""

    id: str
    known: bool
    base_answer: str
    answer: str
    efficacy: bool | None
    """All target tokens are the strict argmax on the prompt; None: not asked (retention was sampled)."""
    alone: bool | None = None
    """Whether the base states it when only its δ is injected; measured only for new facts of a build."""
    outcomes: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    """Measure → for each of its questions about this fact, whether the answer was as expected."""
    live_answer: str | None = None
    p_new: float | None = None
    p_old: float | None = None
    group: str = ""
    """Content key of its key group."""
    asked: str = ""
    """The prompt as it was asked, which may begin with a context (`worker/beginnings.py`)."""
    probes: tuple[ProbeReport, ...] = ()
    """All questions about a fact that failed at least one of them, and about the first new facts."""
    derived: tuple[Consequence, ...] = ()
    """What follows from it and was edited, since the model did not infer it."""
    undecided: tuple[UndecidedAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The result of a build and its measurements."""

    run: str
    base_digest: str
    checkpoint: str
    checkpoint_digest: str
    facts: tuple[FactReport, ...]
    measures: tuple[Measure, ...]
    cost: Cost
    """In the file one flat object: groups_optimised, groups_cached, seconds_<phase>, peak_memory_bytes, …"""
    versions: dict[str, str]
    failures: tuple[FactFailure, ...] = ()
    """Facts of the spec that are in neither the checkpoint nor `facts`, and further wordings left out."""
    answers: tuple[str, ...] = ()
    """The answers to `BuildSpec.prompts`, in their order."""
    spec_digest: str = ""
    """SHA-256 of the spec file that this report answers; a retried worker uses it to recognise finished work."""
    version: int = REPORT_VERSION

    def write(self, path: Path) -> None:
        """Write the report to `path`, atomically and synced."""
        write_file(path, to_json(asdict(self) | {"cost": self.cost.entries()}))

    @classmethod
    def read(cls, path: Path) -> BuildReport:
        """The report in `path`, of this version or an older one; raises `editing.errors.SpecError`."""
        value = read_json(path, 1, REPORT_VERSION)
        if isinstance(value, dict) and value["version"] == 1:
            value = upgraded(value, REPORT_VERSION)
        return decode(cls, value, path.name)
