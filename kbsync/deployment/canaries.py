"""Canary facts, asked of a server after a deploy: its answers prove that it has the new weights.

The questions are a sample of the facts that this checkpoint was edited with, newest first, restricted to those
that its own gates found answered, and the operator's canaries.  They are sent as `POST /v1/completions` of the
OpenAI API, which vLLM and SGLang serve, greedily and with as many tokens as the answer can have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from editing.errors import EditingError
from editing.folding import fold
from editing.spec import BuildReport, Case
from kbsync.application import Application
from kbsync.deployment.asking import completion, first_model
from kbsync.deployment.http import Server
from kbsync.settings.hook import HookSettings
from state.records import Checkpoint, Fact

_FEWEST, _MOST = 8, 64
"""Maximum tokens of an answer; a token is at least one byte, so the target's length in bytes is enough."""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """The result of asking the canaries."""

    answered: int
    of: int
    wrong: str
    """The first question that was not answered correctly, and the server's answer."""

    @property
    def share(self) -> float:
        return self.answered / self.of if self.of else 1.0

    def and_of(self, other: CanaryResult) -> CanaryResult:
        """Both together."""
        return CanaryResult(self.answered + other.answered, self.of + other.of, self.wrong or other.wrong)

    def __str__(self) -> str:
        return f"{self.answered} of {self.of} canary facts answered{f'; {self.wrong}' if self.wrong else ''}"


def questions_for(app: Application, checkpoint: Checkpoint, settings: HookSettings) -> tuple[Case, ...]:
    """The questions for this checkpoint, the same for every attempt."""
    own = app.canaries if settings.canaries_file else ()
    return (*_edited(app, checkpoint, settings.canaries), *(case for case in own if case.target is not None))


def _edited(app: Application, checkpoint: Checkpoint, count: int) -> tuple[Case, ...]:
    with app.state.read() as tx:
        facts = tx.view_facts(checkpoint.view)
        known = tx.known_facts(checkpoint.base, [fact.id for fact in facts])
        previous = tx.previous()
        before = {fact.id for fact in tx.view_facts(previous.view)} if previous else set()
    edited = [fact for fact in facts if fact.id not in known]
    learnt = _learnt(app, checkpoint)
    usable = edited if learnt is None else [fact for fact in edited if fact.id in learnt]
    prompts = learnt or {}

    def order(fact: Fact) -> tuple[bool, str]:
        return fact.id in before, hashlib.sha256(f"{checkpoint.digest}{fact.key}".encode()).hexdigest()

    chosen = sorted(usable, key=order)[:count]
    return tuple(Case(prompts.get(fact.id) or fact.prompt, fact.target) for fact in chosen)


def _learnt(app: Application, checkpoint: Checkpoint) -> dict[int, str] | None:
    """Facts that this checkpoint states, as measured when it was built, each with the prompt that it was asked;
    None if there is no report any more.

    A fact that was not learnt, although its gates passed, says nothing about a server.
    """
    try:
        report = BuildReport.read(app.home.built_in(checkpoint.run, checkpoint.path).report)
    except (OSError, EditingError):
        return None
    return {int(fact.id): fact.asked for fact in report.facts if fact.efficacy}


def ask(server: Server, cases: Sequence[Case], model: str | None) -> CanaryResult:
    """Ask all of them, greedily; raises HookFailed if the server cannot be asked."""
    if not cases:
        return CanaryResult(0, 0, "")
    model = model or first_model(server)
    answered, wrong = 0, ""
    for case in cases:
        target = case.target or ""
        tokens = min(_MOST, max(_FEWEST, len(target.encode())))
        text = completion(server, model, case.prompt, tokens)
        if fold(text).startswith(fold(target)):
            answered += 1
        elif not wrong:
            wrong = f"{case.prompt!r} was answered {text.strip()[:60]!r}, not {target!r}"
    return CanaryResult(answered, len(cases), wrong)
