"""The names in a view that an answer about one fact must not give instead of the fact's own."""

from __future__ import annotations

from collections.abc import Sequence

from editing.consequence import Consequence
from editing.evaluation.free_answers import FreeQuestion, others
from editing.requests import PLACEHOLDER
from editing.spec import Case, FactSpec


class ViewNames:
    """Subjects and, by template, objects of the facts of a view; the subjects of its neighbours as well."""

    def __init__(self, facts: Sequence[FactSpec]) -> None:
        neighbours = (_subject(case.prompt, fact.prompt) for fact in facts for case in fact.neighbours)
        named = [fact.subject for fact in facts] + [name for name in neighbours if name]
        self._subjects = tuple(dict.fromkeys(named))
        self._objects: dict[str, list[str]] = {}
        for fact in facts:
            found = self._objects.setdefault(fact.prompt, [])
            found += [name for name in (fact.target, fact.previous) if name]
            for one in fact.consequences:
                self._objects.setdefault(one.prompt, []).append(one.target)

    def question(self, fact: FactSpec, case: Case) -> FreeQuestion:
        """`case`, which states `fact` or what follows from it, as a question that is answered freely."""
        for one in fact.consequences:
            if one.rendered == case.prompt:
                return self.consequence(one)
        names = (fact.target, *fact.target_names)
        old = tuple(name for name in others([fact.previous or "", *fact.previous_names], "", *names) if name)
        aliases = tuple(
            w.subject for w in fact.further if w.target == fact.target and w.subject != fact.subject
        )
        own = (fact.subject, *aliases, *names, *old)
        return FreeQuestion(
            prompt=case.prompt,
            subject=fact.subject,
            subject_names=aliases,
            templates=(fact.prompt, *fact.variants),
            names=names,
            old_names=old,
            other_subjects=others(self._subjects, case.prompt, *own),
            other_objects=others(self._objects.get(fact.prompt, ()), case.prompt, *own),
            thinks=case.prompt in (*fact.thinking_conversations, *fact.thinking_system_conversations),
        )

    def consequence(self, one: Consequence) -> FreeQuestion:
        """A consequence as a question that is answered freely; other subjects may be named on the way to the answer."""
        names = (one.target, *one.names)
        rivals = others(self._objects.get(one.prompt, ()), one.rendered, one.subject, *names)
        return FreeQuestion(one.rendered, one.subject, names, other_objects=rivals)


def _subject(prompt: str, template: str) -> str:
    """The subject of a neighbour, if its prompt was rendered with the same template; else empty."""
    before, _, after = template.partition(PLACEHOLDER)
    named = prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after)
    return prompt[len(before) : len(prompt) - len(after)].strip() if named else ""
