"""Converting facts of the ledger to `FactSpec`s for the worker, in one pass.

A fact is edited with its own prompt, with further templates of its relation and, if the settings and the relation
ask for it, under other names of its subject and in the inverse direction.  The last two are separate edits (an edited
association says nothing about its opposite direction, as the MEMIT paper notes in its discussion), so the no-conflict
constraint (Eqn. 5) applies to them as well.  They are optional, however: one that would contradict anything is left
out with a reason, and the fact itself is still edited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from editing.folding import fold
from editing.requests import prompt_key, render
from editing.spec import Case, FactSpec, Wording
from editing.special_tokens import control_token_in
from kbsync.admission.verdicts import in_words
from kbsync.application import Application
from kbsync.catalogue.relations import Relation
from kbsync.runs.bases import RunBase
from kbsync.runs.deriving import consequences_of
from kbsync.runs.kept import with_kept
from kbsync.settings.sections import PlanSettings
from state import Snapshot
from state.fact_queries import previous_value
from state.records import BaseAnswer, Fact, Probe, SlotKey

RENAMED = 2
"""Maximum number of other names of a fact's subject by which it is asked freely."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A fact with everything that the ledger knows about it."""

    fact: Fact
    answer: BaseAnswer | None = None
    """The base's unedited answers; None: it was not asked yet."""
    in_live: bool = False
    previous: Fact | None = None
    """The previous value of the slot."""
    target_names: tuple[str, ...] = ()
    """Aliases of the object."""
    previous_names: tuple[str, ...] = ()
    """Aliases of the previous object."""
    probes: tuple[Probe, ...] = ()
    """The probes that can be asked in this view."""

    @property
    def known(self) -> bool | None:
        return None if self.answer is None else self.answer.known


@dataclass(frozen=True, slots=True)
class Skipped:
    """A further wording that is left out, and why."""

    fact: int
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What the ledger knows about the prompts and objects of further wordings."""

    watched: Mapping[str, frozenset[str]]
    """Prompt key → subjects whose slots have that prompt."""
    holders: Mapping[str, frozenset[SlotKey]]
    """Object → slots in which it is wanted, held or in quarantine."""


def fact_specs(
    app: Application, base: RunBase, facts: Sequence[Fact], in_live: Collection[int]
) -> tuple[tuple[FactSpec, ...], tuple[Skipped, ...]]:
    """The specs of a view's facts, in their order, and the further wordings that were left out.

    `base` is the base that the view is built on; `in_live` are the ids of the facts that the live checkpoint states.
    """
    with app.state.read() as tx:
        stored = _stored(tx, base, facts, in_live)
        specs = [fact_spec(one, app.catalogue.get(one.fact.relation), app.settings.plan) for one in stored]
        if base.settings.keep:
            specs = with_kept(specs, facts, app.catalogue)
        if app.settings.plan.same_subject:
            specs = [_with_other_relations(app, *pair) for pair in zip(specs, facts, strict=True)]
        claims = _claims(tx, facts, specs)
        settled, skipped = without_conflicts(facts, specs, claims)
        probes = {one.fact.id: one.probes for one in stored}
        found = consequences_of(app, tx, facts, settled, probes)
    return tuple(replace(spec, consequences=found.get(spec.id, ())) for spec in settled), skipped


def _stored(
    tx: Snapshot, base: RunBase, facts: Sequence[Fact], in_live: Collection[int]
) -> tuple[Stored, ...]:
    answers = tx.base_answers(base.digest, [fact.id for fact in facts])
    edited = [fact for fact in facts if fact.id not in answers or not answers[fact.id].known]
    slots = tx.facts_of((fact.subject, fact.relation) for fact in edited)
    prompts, tokens = {fact.prompt_key for fact in edited}, base.control_tokens
    probes = {fact.id: _askable(tx.probes(fact.id), prompts, tokens) for fact in edited}
    before = {fact.id: previous_value(fact, slots.get((fact.subject, fact.relation), ())) for fact in facts}
    objects = {one.object for one in (*edited, *(old for old in before.values() if old))}
    aliases = {id: entity.aliases for id, entity in tx.entities(objects).items()}
    return tuple(
        Stored(
            fact,
            answers.get(fact.id),
            fact.id in in_live,
            old,
            probes=probes.get(fact.id, ()),
            target_names=aliases.get(fact.object, ()),
            previous_names=aliases.get(old.object, ()) if old else (),
        )
        for fact in facts
        for old in [before[fact.id]]
    )


def _askable(
    probes: Sequence[Probe], edited: Collection[str], control_tokens: frozenset[str]
) -> tuple[Probe, ...]:
    """The probes that can judge a fact of a view that edits the prompts `edited` (prompt keys).

    A neighbour or another relation that the view itself edits is expected to change, so it is left out.  So is a
    probe that contains a control token of the base's tokenizer.
    """
    return tuple(
        probe
        for probe in probes
        if (probe.kind == "alias" or prompt_key(probe.prompt) not in edited)
        and not control_token_in(f"{probe.prompt} {probe.target}", control_tokens)
    )


def fact_spec(stored: Stored, relation: Relation | None, settings: PlanSettings) -> FactSpec:
    """The fact as a spec; `relation` is None if the catalogue does not list it any more.

    A fact of such a relation is built with its pinned template.
    """
    fact, known = stored.fact, stored.known
    templates = [t for t in relation.templates if t != fact.template] if relation else []
    variants, unseen = templates[: settings.variants], templates[settings.variants :]
    aliases = [probe for probe in stored.probes if probe.kind == "alias"]
    edited, asked = aliases[: settings.aliases], aliases[settings.aliases :]
    renamed = [Wording(fact.template, probe.name, fact.target) for probe in edited if probe.name]
    turned, turned_cases = reversed_fact(fact, relation) if relation and not known else ((), ())
    paraphrases = [
        *(render(template, fact.subject_label) for template in unseen),
        *(probe.prompt for probe in asked),
    ]
    return FactSpec(
        id=str(fact.id),
        prompt=fact.template,
        subject=fact.subject_label,
        target=fact.target,
        previous=stored.previous.target if stored.previous else None,
        known=known,
        base_answer=stored.answer.answer if stored.answer else None,
        in_live=stored.in_live,
        variants=tuple(variants),
        questions=relation.questions[:1] if relation and not known else (),
        unseen_questions=relation.questions[1:] if relation and not known else (),
        target_names=stored.target_names,
        previous_names=stored.previous_names,
        further=(*renamed, *turned),
        paraphrases=tuple(p for p in paraphrases if p != fact.prompt)[: settings.paraphrases],
        renamed=tuple(probe.prompt for probe in asked)[:RENAMED],
        reversed=turned_cases,
        neighbours=_cases(stored.probes, "neighbour", settings.neighbours),
        same_subject=_cases(stored.probes, "same_subject", settings.same_subject),
    )


ANYTHING = "{} is"
"""What the base continues about a subject of which it knows nothing else."""


def _with_other_relations(app: Application, spec: FactSpec, fact: Fact) -> FactSpec:
    """A fact about a subject of which the ledger has no other relation asks the base what it knows of it."""
    if spec.known or spec.same_subject:
        return spec
    others = app.catalogue.others(fact.relation) if fact.relation in app.catalogue else ()
    return replace(spec, other_relations=(*(relation.template for relation in others), ANYTHING))


def bare_spec(fact: Fact) -> FactSpec:
    """The fact as a question to the base: only its own prompt."""
    return FactSpec(id=str(fact.id), prompt=fact.template, subject=fact.subject_label, target=fact.target)


def _cases(probes: Sequence[Probe], kind: str, most: int) -> tuple[Case, ...]:
    """Questions whose expected answers are those of the base, right or wrong."""
    return tuple(Case(probe.prompt) for probe in probes if probe.kind == kind)[:most]


def reversed_fact(fact: Fact, relation: Relation) -> tuple[tuple[Wording, ...], tuple[Case, ...]]:
    """(the edit, the questions) of the fact in the inverse direction; both empty unless the relation asks for it."""
    if not relation.edit_inverse or not relation.inverse:
        return (), ()
    edit = Wording(relation.inverse[0], fact.target, fact.subject_label)
    asked = (Case(render(template, fact.target), fact.subject_label) for template in relation.inverse)
    return (edit,), tuple(asked)


def _claims(tx: Snapshot, facts: Sequence[Fact], specs: Sequence[FactSpec]) -> Claims:
    more = [(fact, further) for fact, spec in zip(facts, specs, strict=True) for further in spec.further]
    slots = tx.slots_with_prompt_keys(_key(further) for _, further in more)
    watched = {key: frozenset(slot.subject for slot in making) for key, making in slots.items()}
    return Claims(watched, tx.holders_of_objects(fact.object for fact, _ in more))


def without_conflicts(
    facts: Sequence[Fact], specs: Sequence[FactSpec], claims: Claims
) -> tuple[tuple[FactSpec, ...], tuple[Skipped, ...]]:
    """`specs` (of `facts`, in their order) without further wordings that contradict something."""
    answers: dict[str, set[str]] = defaultdict(set)
    for spec in specs:
        for wording in spec.wordings():
            answers[_key(wording)].add(fold(wording.target))
    settled, skipped = [], []
    for fact, spec in zip(facts, specs, strict=True):
        reasons = {
            further: _conflict(fact, further, answers[_key(further)], claims) for further in spec.further
        }
        kept = tuple(further for further in spec.further if reasons[further] is None)
        both_ways = any(_is_reversed(fact, further) for further in kept)
        settled.append(replace(spec, further=kept, reversed=spec.reversed if both_ways else ()))
        skipped += [
            Skipped(fact.id, render(further.prompt, further.subject), reason)
            for further, reason in reasons.items()
            if reason is not None
        ]
    return tuple(settled), tuple(skipped)


def _conflict(fact: Fact, further: Wording, answers: set[str], claims: Claims) -> str | None:
    """Why `fact` is not edited with `further`; None if nothing contradicts it."""
    if _is_reversed(fact, further):
        others = sorted(
            subject
            for subject, relation in claims.holders.get(fact.object, ())
            if relation == fact.relation and subject != fact.subject
        )
        if others:
            return f"{in_words(fact.object)} is also the object of {', '.join(others[:3])}: no single answer"
    if others := sorted(claims.watched.get(_key(further), frozenset()) - {fact.subject}):
        return f"{', '.join(others[:3])} makes the same prompt"
    if len(answers) > 1:
        return f"the view has other answers to this prompt: {', '.join(sorted(answers))}"
    return None


def _is_reversed(fact: Fact, further: Wording) -> bool:
    return (further.subject, further.target) == (fact.target, fact.subject_label)


def _key(wording: Wording) -> str:
    return prompt_key(render(wording.prompt, wording.subject))
