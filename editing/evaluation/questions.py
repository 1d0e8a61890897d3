"""Building the questions of a view: what each declared measure asks, and the expected answers.

Expected answers have three sources: a fact's own target; what the *view* states, if it edits the probe's
prompt; and the base's answer, for everything that should not change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from editing.evaluation.ability import Contexts, ordinary_texts
from editing.evaluation.cases import FLUENCY_TEXTS, AskedOfFacts, Known, asked_of, usable
from editing.evaluation.measures.declaration import FactMeasure, Population, populations
from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.question_set import FactQuestions, ForcedChoice, QuestionSet
from editing.evaluation.readings import READINGS
from editing.evaluation.responses import Responses
from editing.evaluation.robustness import robustness, statements
from editing.evaluation.sampling import drawn, sampled
from editing.evaluation.scoring import Question, cut_answer, encode_prompts, encode_targets
from editing.evaluation.view_names import ViewNames
from editing.model import chat
from editing.progress import Tick, uncounted
from editing.refusals import refuses
from editing.requests import prompt_key, render
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec

KNOWN_COMPARED = 256
"""Maximum number of prompts of facts that the base knows by which distributions are compared: the base is scored on
these only for that."""

UNAIDED = 32
"""Maximum number of facts by which it is found out what the base can answer at all."""


@dataclass
class AskedBase:
    """The unedited model, which supplies the expected answers that the spec does not contain."""

    model: Any
    tokenizer: Any
    responses: Responses
    tick: Tick = uncounted
    only: Collection[str] | None = None
    """Ids of the facts that are asked about, for a share of an exam; None: all."""

    def asks_about(self, fact: FactSpec) -> bool:
        return self.only is None or fact.id in self.only

    def states(self, questions: Iterable[Question]) -> dict[Question, bool]:
        """Question → whether the base states its target."""
        questions = list(dict.fromkeys(questions))
        self.responses.score(self.model, questions, self.tick)
        return {question: self.responses.states(question) for question in questions}


def known_facts(base: AskedBase, facts: Sequence[FactSpec]) -> dict[str, BaseAnswer]:
    """The base's answers to each fact, by its id; asked only if the spec does not contain them."""
    given = {
        f.id: BaseAnswer(f.known, f.base_answer)
        for f in facts
        if f.known is not None and f.base_answer is not None
    }
    asked = [fact for fact in facts if fact.id not in given]
    prompts = [(fact, wording) for fact in asked for wording in fact.wordings()]
    rendered = [(render(wording.prompt, wording.subject), wording.target) for _, wording in prompts]
    questions = encode_targets(base.tokenizer, rendered)
    stated = base.states(questions)
    unlike = [question.prompt for question in questions if not stated[question]]
    base.responses.answer(base.model, base.tokenizer, unlike, base.tick)
    found: dict[str, BaseAnswer] = {}
    for (fact, _), question in zip(prompts, questions, strict=True):
        text = base.responses.text(base.tokenizer, question, fact.target)
        before = found.get(fact.id, BaseAnswer(True, text))
        found[fact.id] = replace(before, known=before.known and stated[question])
    for fact in asked:
        if fact.known is not None:
            found[fact.id] = replace(found[fact.id], known=fact.known)
    return {**given, **found}


def build_questions(base: AskedBase, spec: BuildSpec, known: Known, windows: Sequence[Tensor]) -> QuestionSet:
    """All questions about the view of `spec`; `windows` is the held-out text."""
    facts = _asked_facts(base, spec, known)
    asked = usable(
        base.model,
        base.tokenizer,
        asked_of(facts, spec, known, [m for m in FACT_MEASURES if m.chance is None]),
    )
    whole = {m.name: tuple(m.asks(spec)) for m in CANDIDATE_MEASURES if m.asks is not None}
    unmoved = [case for _, measure, cases in asked for case in cases if measure.expects == "unchanged"]
    unmoved += [case for cases in whole.values() for case in cases if case.target is None]
    edited = _edited(spec.facts, known)
    unchanged = _unchanged(base, unmoved, edited)
    required = _required(
        base, [case for cases in whole.values() for case in cases if case.target is not None]
    )
    contexts = Contexts(ordinary_texts(base.tokenizer, windows), statements(base.tokenizer, asked, unchanged))
    more, ability = robustness(base.model, base.tokenizer, spec, known, contexts, facts)
    asked += more
    about_facts = _fact_questions(base, facts, known, asked, unchanged)
    return QuestionSet(
        facts=about_facts,
        ability=_fact_questions(base, [fact for fact, *_ in ability], known, ability, {}),
        candidate={
            name: tuple(
                (unchanged if case.target is None else required)[case]
                for case in cases
                if case.target is not None or case in unchanged
            )
            for name, cases in whole.items()
        },
        texts=_texts(spec, facts, known, asked),
        windows=tuple(windows),
        seed=spec.settings.seed,
        untouched=_untouched(
            [
                *(
                    unchanged[case]
                    for case in unmoved
                    if case in unchanged and prompt_key(case.prompt) not in edited
                ),
                *_own_of_known(about_facts, facts, known, edited, spec.settings.seed),
            ]
        ),
        refused=_refused(base, spec),
        refusal_phrases=spec.refusal_phrases,
        readings={m.name: READINGS[m.reads] for m in CANDIDATE_MEASURES if m.reads is not None},
        of_base=tuple(measure.name for measure in FACT_MEASURES if measure.of_base),
        unaided=_unaided(base, spec, known),
    )


def _refused(base: AskedBase, spec: BuildSpec) -> tuple[str, ...]:
    """The prompts of the spec's refusals that the base refuses, as the model reads them."""
    chats = chat.opening(base.tokenizer) is not None
    prompts = [chat.asked(base.tokenizer, prompt) if chats else prompt for prompt in spec.refusals]
    base.responses.answer_freely(base.model, base.tokenizer, prompts, tick=base.tick)
    return tuple(one for one in prompts if refuses(base.responses.free[one], spec.refusal_phrases))


def _unaided(base: AskedBase, spec: BuildSpec, known: Known) -> dict[str, FactQuestions]:
    """What the base alone is asked about facts that it states: a sample for each measure that needs it."""
    asked: AskedOfFacts = []
    for measure in FACT_MEASURES:
        if measure.of_base and spec.generate:
            stated = ((fact, tuple(measure.asks(fact))) for fact in spec.facts if known[fact.id].known)
            cases = {fact.id: some for fact, some in stated if some}
            facts = drawn([fact for fact in spec.facts if fact.id in cases], UNAIDED, spec.settings.seed)
            asked += [(fact, measure, cases[fact.id]) for fact in facts]
    facts = list({fact.id: fact for fact, *_ in asked}.values())
    return _fact_questions(base, facts, known, usable(base.model, base.tokenizer, asked), {})


def _asked_facts(base: AskedBase, spec: BuildSpec, known: Known) -> list[FactSpec]:
    """The facts that are asked about: every new or examined one, and as many others as the spec's sample allows."""

    def of(population: Population) -> list[FactSpec]:
        return [fact for fact in spec.facts if population in populations(fact, known[fact.id].known)]

    new, examined = of("new"), of("examined")
    old = [fact for fact in of("old") if not fact.examined]
    unedited = [fact for fact in spec.facts if known[fact.id].known]
    seed, limit = spec.settings.seed, spec.retention_sample
    every = [
        *new,
        *examined,
        *sampled(base.model, base.tokenizer, old, new, limit, seed),
        *sampled(base.model, base.tokenizer, unedited, new, limit, seed),
    ]
    return [fact for fact in every if base.asks_about(fact)]


def _texts(spec: BuildSpec, facts: Sequence[FactSpec], known: Known, asked: AskedOfFacts) -> tuple[str, ...]:
    """Prompts to generate texts from: those of the measures, and further ones if these are too few for fluency."""
    if not spec.generate:
        return ()
    prompts = [case.prompt for _, measure, cases in asked for case in cases if measure.answered == "sampled"]
    others = [fact for fact in facts if "new" not in populations(fact, known[fact.id].known)]
    more = drawn(others, max(0, FLUENCY_TEXTS - len(prompts)), spec.settings.seed)
    return tuple(dict.fromkeys([*prompts, *(render(fact.prompt, fact.subject) for fact in more)]))


def _fact_questions(
    base: AskedBase,
    facts: Sequence[FactSpec],
    known: Known,
    asked: AskedOfFacts,
    unchanged: Mapping[Case, Question],
) -> dict[str, FactQuestions]:
    """Fact id → its questions."""
    own = {fact.id: (render(fact.prompt, fact.subject), fact.target) for fact in facts}
    old = {
        fact.id: (own[fact.id][0], fact.previous)
        for fact in facts
        if fact.previous and "new" in populations(fact, known[fact.id].known)
    }
    stated = [
        (case.prompt, answer)
        for _, measure, cases in asked
        for case in cases
        if measure.answered in ("scored", "chosen") and measure.expects != "unchanged"
        for answer in (measure.choices if measure.answered == "chosen" else (case.target or "",))
    ]
    pairs = list(dict.fromkeys([*own.values(), *old.values(), *stated]))
    encoded = dict(zip(pairs, encode_targets(base.tokenizer, pairs), strict=True))
    names = ViewNames(facts)
    found: dict[str, dict[str, dict[str, Any]]] = {fact.id: defaultdict(dict) for fact in facts}
    for fact, measure, cases in asked:
        kind = _kind(measure)
        found[fact.id][kind][measure.name] = _as_asked(
            kind, fact, measure, cases, (encoded, unchanged, names)
        )
    return {
        id: FactQuestions(own=encoded[pair], old=encoded[old[id]] if id in old else None, **found[id])
        for id, pair in own.items()
    }


def _kind(measure: FactMeasure) -> str:
    """The field of `FactQuestions` that has its questions."""
    return "avoided" if measure.expects == "avoided" else measure.answered


def _as_asked(
    kind: str,
    fact: FactSpec,
    measure: FactMeasure,
    cases: Sequence[Case],
    known: tuple[Mapping[tuple[str, str], Question], Mapping[Case, Question], ViewNames],
) -> tuple[Any, ...]:
    """`cases` as the questions that `FactQuestions` has for their kind; `known`: the tokens of prompts with answers,
    of cases that should not change, and the names in the view."""
    encoded, unchanged, names = known
    if kind == "sampled":
        return tuple(cases)
    if kind == "free":
        return tuple(names.question(fact, case) for case in cases)
    if kind == "chosen":
        yes, no = measure.choices
        turned = ((case.prompt, (yes, no) if case.target == yes else (no, yes)) for case in cases)
        return tuple(
            ForcedChoice(encoded[prompt, right], encoded[prompt, wrong]) for prompt, (right, wrong) in turned
        )
    if measure.expects == "unchanged":
        return tuple(unchanged[case] for case in cases if case in unchanged)
    return tuple(encoded[case.prompt, case.target or ""] for case in cases)


def _own_of_known(
    asked: Mapping[str, FactQuestions],
    facts: Sequence[FactSpec],
    known: Known,
    edited: Mapping[str, str],
    seed: int,
) -> list[Question]:
    """The own prompts of facts that the base knows, of a sample of them."""
    unedited = [
        fact
        for fact in facts
        if known[fact.id].known and prompt_key(render(fact.prompt, fact.subject)) not in edited
    ]
    return [asked[fact.id].own for fact in drawn(unedited, KNOWN_COMPARED, seed)]


def _untouched(questions: Iterable[Question]) -> tuple[Question, ...]:
    """One question per prompt."""
    return tuple({question.prompt: question for question in questions}.values())


def _edited(facts: Sequence[FactSpec], known: Known) -> dict[str, str]:
    """Key of each prompt that the view edits → its edited target."""
    return {
        prompt_key(render(wording.prompt, wording.subject)): wording.target
        for fact in sorted(facts, key=lambda fact: fact.in_live)
        if not known[fact.id].known
        for wording in fact.wordings()
    }


def _unchanged(base: AskedBase, cases: Sequence[Case], edited: Mapping[str, str]) -> dict[Case, Question]:
    """Each case with the expected answer's tokens.

    A case for which the base has no single likeliest answer (a tie, as in 16-bit logits) is left out.
    """
    cases = list(dict.fromkeys(cases))
    by_view = {case: edited.get(prompt_key(case.prompt)) for case in cases}
    named = [(case, target) for case in cases if (target := by_view[case] or case.target)]
    encoded = encode_targets(base.tokenizer, [(case.prompt, target) for case, target in named])
    questions = dict(zip([case for case, _ in named], encoded, strict=True))
    stated = base.states(questions.values())
    expected = {
        case: question
        for case, question in questions.items()
        if by_view[case] is not None or stated[question]
    }
    rest = [case for case in cases if case not in expected]
    prompts = encode_prompts(base.tokenizer, [case.prompt for case in rest])
    base.responses.answer(base.model, base.tokenizer, prompts, base.tick)
    answers = [cut_answer(base.tokenizer, base.responses.greedy[prompt])[1] for prompt in prompts]
    own = [Question(*pair) for pair in zip(prompts, answers, strict=True)]
    stated = base.states(own)
    return expected | {case: question for case, question in zip(rest, own, strict=True) if stated[question]}


def _required(base: AskedBase, cases: Sequence[Case]) -> dict[Case, Question]:
    """Cases with a target: it is required whatever the base answers."""
    pairs = [(case.prompt, case.target or "") for case in cases]
    return dict(zip(cases, encode_targets(base.tokenizer, pairs), strict=True))
