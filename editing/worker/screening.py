"""Screening the facts of a spec: those that cannot be built or asked are left out, each on its own.

Labels and prompts come from many sources.  Before anything is asked, every new fact is tokenised in all its
wordings.  A fact whose own prompt cannot be used is reported and left out; a further wording or a probe that cannot
be used is removed from its fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from editing.errors import EditingError, NumericalError, OutOfMemory, RequestError
from editing.fact_failure import FactFailure, FailureCode
from editing.model.loading import readable
from editing.model.tokens import Passage, Readable, continued, passage, try_locate
from editing.requests import EditRequest, prompt_key, render
from editing.spec import BuildSpec, Case, FactSpec


def edit_requests(fact: FactSpec) -> list[EditRequest]:
    """The fact's own request, whose id is the fact's, and one for each variant and further wording."""
    return [
        EditRequest(f"{fact.id}/{number}" if number else fact.id, said.prompt, said.subject, said.target)
        for number, said in enumerate(fact.wordings())
    ]


def kl_prompts(edited: list[FactSpec]) -> dict[str, list[str]]:
    """Subject → prompts about its other relations, whose answers should not change.

    Prompts that the view itself edits are left out, and so are those that do not name the subject.
    """
    edits = {prompt_key(request.rendered) for fact in edited for request in edit_requests(fact)}
    kept: dict[str, list[str]] = {}
    for fact in edited:
        for case in fact.same_subject:
            if fact.subject in case.prompt and prompt_key(case.prompt) not in edits:
                kept.setdefault(fact.subject, []).append(case.prompt)
    return kept


def kept_prompts(facts: Iterable[FactSpec]) -> list[tuple[str, str]]:
    """(template, subject) of the sentences whose keys the edits of a view of these facts should leave alone."""
    return [(template, fact.subject) for fact in facts for template in fact.kept]


def code_of(error: EditingError) -> FailureCode:
    """The code in the report for the failure of one request; raises the error if it is not such a failure."""
    if isinstance(error, RequestError):
        return error.code
    if isinstance(error, NumericalError):
        return "not_finite"
    if isinstance(error, OutOfMemory):
        return "out_of_memory"
    raise error


@dataclass
class Failures:
    """The failed requests of a round, grouped into facts and wordings of facts."""

    facts: dict[str, FactFailure] = field(default_factory=dict)
    """By fact id."""
    wordings: dict[str, FactFailure] = field(default_factory=dict)
    """By rendered prompt."""

    def note(self, fact: FactSpec, request: EditRequest, error: EditingError) -> None:
        """Record that `request`, one of `fact`'s, cannot be edited."""
        if request.id == fact.id:
            self.facts[fact.id] = FactFailure(fact.id, code_of(error), str(error))
        else:
            left_out = FactFailure(fact.id, code_of(error), str(error), wording=request.rendered)
            self.wordings.setdefault(request.rendered, left_out)

    def note_all(self, fact: FactSpec, errors: Mapping[str, EditingError]) -> None:
        """The same for all of `fact`'s requests that are among `errors` (by id)."""
        for request in edit_requests(fact):
            if request.id in errors:
                self.note(fact, request, errors[request.id])

    def report(self) -> tuple[FactFailure, ...]:
        """All failures; the wordings of a fact that itself failed are not listed."""
        left_out = (item for item in self.wordings.values() if item.id not in self.facts)
        return (*self.facts.values(), *left_out)

    def without(self, facts: Iterable[FactSpec]) -> tuple[FactSpec, ...]:
        """`facts` without those that failed, each without its failed wordings and what follows from a failed fact."""
        return tuple(self._kept(fact) for fact in facts if fact.id not in self.facts)

    def _kept(self, fact: FactSpec) -> FactSpec:
        variants = tuple(t for t in fact.variants if render(t, fact.subject) not in self.wordings)
        further = tuple(w for w in fact.further if render(w.prompt, w.subject) not in self.wordings)
        follows = tuple(one for one in fact.consequences if self.facts.keys().isdisjoint(one.parents))
        if (variants, further, follows) == (fact.variants, fact.further, fact.consequences):
            return fact
        return replace(fact, variants=variants, further=further, consequences=follows)


def screened(model: Any, tokenizer: Any, spec: BuildSpec, failures: Failures) -> BuildSpec:
    """`spec` without what cannot be tokenised or is too long, which is recorded in `failures`.

    Facts that are in live passed before, so their probes are not checked again.
    """
    limit = readable(model)
    new = [fact for fact in spec.facts if not fact.in_live]
    asked = [(fact, request) for fact in new for request in edit_requests(fact)]
    passages: dict[EditRequest, Passage] = {}
    for fact, request in asked:
        try:
            passages[request] = passage(request)
        except RequestError as error:
            failures.note(fact, request, error)
    found = try_locate(tokenizer, list(passages.values()), limit=limit, labels=True)
    errors = {
        request: error
        for request, error in zip(passages, found, strict=True)
        if isinstance(error, RequestError)
    }
    for fact, request in asked:
        if request in errors:
            failures.note(fact, request, errors[request])
    kept = failures.without(spec.facts)
    return replace(spec, facts=_with_usable_probes(tokenizer, kept, limit))


def _with_usable_probes(tokenizer: Any, facts: Sequence[FactSpec], limit: Readable) -> tuple[FactSpec, ...]:
    """`facts` without probes that cannot be tokenised together with their expected answers."""
    texts = dict.fromkeys(pair for fact in facts if not fact.in_live for pair in _probes(fact))
    rows = try_locate(tokenizer, [_asked(*pair) for pair in texts], limit=limit)
    usable = {pair: not isinstance(row, RequestError) for pair, row in zip(texts, rows, strict=True)}
    if all(usable.values()):
        return tuple(facts)
    return tuple(fact if fact.in_live else _with_probes(fact, usable) for fact in facts)


def _probes(fact: FactSpec) -> Iterator[tuple[str, str]]:
    """(prompt, answer) of every question that judges the fact."""
    yield from ((prompt, fact.target) for prompt in fact.paraphrases)
    if fact.previous:
        yield render(fact.prompt, fact.subject), fact.previous
    for case in (*fact.reversed, *fact.neighbours, *fact.same_subject):
        yield case.prompt, case.target or ""


def _with_probes(fact: FactSpec, usable: Mapping[tuple[str, str], bool]) -> FactSpec:
    def cases(some: Iterable[Case]) -> tuple[Case, ...]:
        return tuple(case for case in some if usable[case.prompt, case.target or ""])

    own = render(fact.prompt, fact.subject)
    return replace(
        fact,
        previous=fact.previous if fact.previous and usable[own, fact.previous] else None,
        paraphrases=tuple(prompt for prompt in fact.paraphrases if usable[prompt, fact.target]),
        reversed=cases(fact.reversed),
        neighbours=cases(fact.neighbours),
        same_subject=cases(fact.same_subject),
    )


def _asked(prompt: str, target: str) -> Passage:
    return Passage(continued(prompt, target), len(prompt), len(prompt) if target else None)
