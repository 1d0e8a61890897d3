"""Which fact broke an answer: a binary search over the changes from a good version to a bad one.

View k has the good version's facts with the first k changes applied.  View 0 is good and view n is bad, so there is a
k whose view is bad while the one before is good, and halving finds one in at most ⌈log₂ n⌉ builds.  That holds even if
the answer changes more than once on the way: one of the changes that break it is found.  The edits are cached, so that
a build costs a solve, not an optimisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editing.folding import fold
from editing.requests import prompt_key
from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.queries.answers import Tell
from kbsync.recipe import recipe, same
from kbsync.versions.building import Tally, Views
from kbsync.versions.changes import FactChange, fact_changes
from kbsync.versions.naming import Version, of_checkpoint
from state.records import Fact


@dataclass(frozen=True, slots=True)
class BisectStep:
    """One view that was built and asked."""

    changes: int
    """How many of the changes it has."""
    answer: str
    good: bool


@dataclass(frozen=True, slots=True)
class Bisected:
    """The change after which the answer is wrong."""

    prompt: str
    expected: str
    good: str
    """Name of the good version."""
    bad: str
    before: str
    """What the good version answers."""
    after: str
    """What the bad version answers."""
    changes: int
    """n, the number of changes between the two."""
    steps: tuple[BisectStep, ...]
    culprit: FactChange
    optimised: int
    """Key groups whose δ the cache did not have."""
    doubt: str
    """What differs between the versions besides facts; empty if nothing does."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and how its answers are told apart."""

    prompt: str
    expected: str
    contains: bool
    """Whether an answer is good if it states `expected`; otherwise it has to be the same answer."""

    def accepts(self, answer: str) -> bool:
        """Whether the answer is good."""
        from editing.evaluation.words import contains

        if self.contains:
            return contains(answer, self.expected)
        return fold(answer) == fold(self.expected)


def search(n: int, is_good: Callable[[int], bool]) -> int:
    """The number k of a change with view k - 1 good and view k bad, given that view 0 is good and view n is bad.

    `is_good` is called at most ⌈log₂ n⌉ times, never with 0 or n.
    """
    good, bad = 0, n
    while bad - good > 1:
        middle = (good + bad) // 2
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return bad


def bisect(
    app: Application,
    views: Views,
    prompt: str,
    ends: tuple[Version, Version],
    *,
    expect: str | None = None,
    tell: Tell = lambda line: None,
) -> Bisected:
    """Find the fact after whose change `prompt` is answered wrongly.

    `ends`: the good and the bad version.  `expect`: what a good answer states; by default the target of the canary with
    this prompt, that of the good version's fact with it, or else the very answer of the good version.  Raises
    UsageError if the versions do not differ in facts, or not in the answer; WorkerFailed, Stopping.
    """
    good, bad = ends
    _check_bases(app, ends)
    changes = fact_changes(good, bad)
    if not changes:
        raise UsageError(
            f"{good.name} and {bad.name} have the same facts", "`kbsync diff` shows what else differs"
        )
    (before,), (after,) = views.answers(good, [prompt]), views.answers(bad, [prompt])
    question = _question(app, good, prompt, before, expect)
    _check_ends(question, (good.name, before), (bad.name, after))
    views.tally = Tally()
    steps: list[BisectStep] = []

    def is_good(count: int) -> bool:
        report = views.asked(with_changes(good.facts, changes[:count]), [prompt])
        step = BisectStep(count, report.answers[0], question.accepts(report.answers[0]))
        steps.append(step)
        tell(f"{count} of {len(changes)} changes: {'good' if step.good else 'bad'}: {step.answer}")
        return step.good

    culprit = changes[search(len(changes), is_good) - 1]
    return Bisected(
        prompt,
        question.expected,
        good.name,
        bad.name,
        before,
        after,
        len(changes),
        tuple(steps),
        culprit,
        views.tally.optimised,
        _other_settings(app, ends),
    )


def default_ends(app: Application) -> tuple[Version | None, Version | None]:
    """What was live before, and what is live; None where there is none."""
    with app.state.read() as tx:
        before, live = tx.previous(), tx.live()
    return (
        None if before is None else of_checkpoint(app, before),
        None if live is None else of_checkpoint(app, live),
    )


def with_changes(facts: Sequence[Fact], changes: Sequence[FactChange]) -> tuple[Fact, ...]:
    """`facts` after these changes, sorted by key."""
    gone = {change.before.key for change in changes if change.before is not None}
    rest = [fact for fact in facts if fact.key not in gone]
    rest += [change.after for change in changes if change.after is not None]
    return tuple(sorted(rest, key=lambda fact: fact.key))


def _question(app: Application, good: Version, prompt: str, before: str, expect: str | None) -> Question:
    if expect is not None:
        return Question(prompt, expect, contains=True)
    key = prompt_key(prompt)
    canaries = (case.target for case in app.canaries if prompt_key(case.prompt) == key)
    stated = (fact.target for fact in good.facts if fact.prompt_key == key)
    for target in (*canaries, *stated):
        if target is not None:
            return Question(prompt, target, contains=True)
    return Question(prompt, before, contains=False)


def _check_bases(app: Application, ends: tuple[Version, Version]) -> None:
    """Raise UsageError for a version of another base: what lies between is built on the configured one."""
    for end in ends:
        if end.base not in (None, app.base.digest):
            raise UsageError(
                f"{end.name} was built from another base than the configured one",
                "its answers differ for other reasons than facts; name versions of one base",
            )


def _check_ends(question: Question, good: tuple[str, str], bad: tuple[str, str]) -> None:
    """Raise UsageError unless the good version answers well and the bad one does not."""
    if not question.accepts(good[1]):
        raise UsageError(
            f"{good[0]} does not answer {question.expected!r} either: it says {good[1]!r}",
            "name an earlier version with --good, or what a good answer states with --expect",
        )
    if question.accepts(bad[1]):
        raise UsageError(
            f"{bad[0]} answers well: it says {bad[1]!r}",
            "name the version that does not with --bad, or what a good answer states with --expect",
        )


def _other_settings(app: Application, ends: tuple[Version, Version]) -> str:
    """That a version was built with other settings than what lies between would be now; empty if none was."""
    now = recipe(app, {fact.relation for end in ends for fact in end.facts})
    other = [end.name for end in ends if end.checkpoint is not None and not same(end.checkpoint.recipe, now)]
    return f"built with other settings than today's: {', '.join(other)}" if other else ""
