"""Asking a served model, quantised perhaps, a sample of its checkpoint's exam (`kbsync judge-served`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from editing.errors import EditingError, SpecError
from editing.progress import TimedProgress, silent
from editing.secret_probes import SecretProbes
from editing.spec import BuildReport, BuildSpec, Case
from kbsync.application import Application
from kbsync.deployment.asking import first_model
from kbsync.deployment.departures import ComparedAnswer, ServedAnswer, ServedToken, compare, explained_by
from kbsync.deployment.exam_sample import CHAT, ExamQuestion, exam, sample
from kbsync.deployment.hooks import HookFailed, version_id
from kbsync.deployment.http import Server, described, object_of
from kbsync.errors import BadData, NoInput
from state.records import Checkpoint

_TOPS = 5
"""Alternatives of which log-probabilities are asked at each token: as many as the OpenAI API gives."""
_GREEDY: dict[str, Any] = {"repetition_penalty": 1.0, "repeat_penalty": 1.0}
"""Servers penalise tokens that occurred before, even at temperature 0: vLLM and SGLang where the model's generation
settings say so, llama.cpp's by itself.  The API has no parameter for it; these are their own names."""
_SILENT: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
"""Conversations were judged without a thought before the answer; vLLM, SGLang and llama.cpp hand this to a template."""
_FEWEST, _MOST = 8, 64
"""Maximum tokens of an answer; a token is at least one byte, so the judged answer's length in bytes is enough."""
_FREELY = 32
"""Tokens of a free answer, as in the exam."""


@dataclass(frozen=True, slots=True)
class ExamOptions:
    """What is asked, and how exactly the server computes."""

    model: str | None = None
    """`model` of the requests; None: the first one that the server lists."""
    count: int = 100
    seed: int = 0
    bits: int = 16
    """In which its weights are served."""
    chat: bool = True
    """Whether questions that were judged in conversations are asked."""


@dataclass(frozen=True, slots=True)
class ServedExam:
    """How a served model answered."""

    version: str
    """The version whose answers were judged."""
    model: str
    explained: float
    """How far rounding may move the difference of two logits."""
    measured: bool
    """Whether that rests on what was measured when the version was built."""
    answers: tuple[ComparedAnswer, ...]

    @property
    def unexplained(self) -> tuple[ComparedAnswer, ...]:
        return tuple(one for one in self.answers if one.result == "unexplained")

    def by_kind(self) -> list[tuple[str, int, int, int, int]]:
        """(kind, asked, as judged, explained by rounding, unexplained) of each kind of question."""
        rows = []
        for kind in dict.fromkeys(one.question.kind for one in self.answers):
            results = [one.result for one in self.answers if one.question.kind == kind]
            counts = (results.count("as judged"), results.count("rounding"), results.count("unexplained"))
            rows.append((kind, len(results), *counts))
        return rows


def judge_served(
    app: Application,
    checkpoint: Checkpoint,
    server: Server,
    options: ExamOptions,
    progress: TimedProgress = silent,
) -> ServedExam:
    """Ask the server a sample of the checkpoint's exam; reads only.

    Raises NoInput if the round's report is gone, BadData if nothing in it can be asked, HookFailed if the server does
    not answer.
    """
    spec, report = _round(app, checkpoint)
    seed = f"{checkpoint.digest}\0{options.seed}"
    questions = sample(exam(spec, report, chat=options.chat), options.count, seed)
    if not questions:
        raise BadData(
            f"the exam of checkpoint {checkpoint.id} has no question that a server can be asked",
            "its facts were not asked anything: choose another one with --checkpoint",
        )
    deviations = _deviations(app, checkpoint)
    allowed = explained_by(deviations, options.bits)
    model = options.model or first_model(server)
    states, answers = _judging(spec, questions), []
    for number, question in enumerate(questions, start=1):
        answer = _ask(server, model, question)
        answers.append(compare(question, answer, allowed, lambda text, q=question: states(q, text)))  # type: ignore[misc]
        progress("questions", number, len(questions), None)
    version = version_id(checkpoint.path, checkpoint.digest)
    return ServedExam(version, model, allowed, bool(deviations), tuple(answers))


def _round(app: Application, checkpoint: Checkpoint) -> tuple[BuildSpec, BuildReport]:
    directory = app.home.built_in(checkpoint.run, checkpoint.path)
    try:
        return BuildSpec.read(directory.spec), BuildReport.read(directory.report)
    except EditingError as error:
        raise NoInput(
            f"the exam of checkpoint {checkpoint.id} is not there: {error}",
            "`kbsync rebuild` builds and judges live again; the reports of old runs are removed after a time",
        ) from error


def _deviations(app: Application, checkpoint: Checkpoint) -> Mapping[str, float]:
    """What computing in 16 bits does to a logit of this version; empty if it was not measured."""
    try:
        return SecretProbes.read(app.home.built_in(checkpoint.run, checkpoint.path).secret_answers).deviations
    except SpecError:
        return {}


def _judging(spec: BuildSpec, questions: Sequence[ExamQuestion]) -> Callable[[ExamQuestion, str], bool]:
    """Whether a free answer states its question's fact, by the rules of the exam."""
    if not any(question.judged is None for question in questions):
        return lambda _, __: False
    from editing.evaluation.free_answers import first_sentence
    from editing.evaluation.free_answers import states as stated
    from editing.evaluation.view_names import ViewNames

    names, facts = ViewNames(spec.facts), {fact.id: fact for fact in spec.facts}

    def states(question: ExamQuestion, text: str) -> bool:
        fact = facts[question.fact]
        return stated(first_sentence(text), names.question(fact, Case(question.prompt, fact.target)))

    return states


def _ask(server: Server, model: str, question: ExamQuestion) -> ServedAnswer:
    """The server's greedy answer; raises HookFailed."""
    tokens = _FREELY
    if question.judged is not None:
        tokens = min(_MOST, max(_FEWEST, len(question.judged.encode())))
    body = {"model": model, "max_tokens": tokens, "temperature": 0}
    if question.kind == CHAT:
        turn = {"role": "user", "content": question.prompt}
        tops = {"logprobs": True, "top_logprobs": _TOPS}
        further: tuple[dict[str, Any], ...] = (_SILENT | _GREEDY | tops, _SILENT | tops, tops, {})
        return _answer(server, "/v1/chat/completions", {**body, "messages": [turn]}, further)
    return _answer(
        server,
        "/v1/completions",
        {**body, "prompt": question.prompt},
        ({**_GREEDY, "logprobs": _TOPS}, {"logprobs": _TOPS}, {}),
    )


def _answer(
    server: Server, path: str, body: dict[str, Any], further: Sequence[dict[str, Any]]
) -> ServedAnswer:
    """The answer to the request with the first of `further` that the server does not refuse, with whatever status."""
    chat = "messages" in body
    for more in further:
        answer = server.post(path, json={**body, **more})
        if answer.is_success:
            break
    try:
        choice = object_of(answer)["choices"][0]
        text = choice["message"]["content"] if chat else choice["text"]
    except HookFailed as error:
        raise HookFailed(
            f"{error}; --no-chat asks no questions in conversations" if chat else str(error)
        ) from error
    except (KeyError, IndexError, TypeError) as error:
        raise HookFailed(f"{described(answer)} holds no completion") from error
    if not isinstance(text, str):
        raise HookFailed(f"{described(answer)} holds no completion")
    return ServedAnswer(text, _tokens(choice.get("logprobs")))


def _tokens(given: Any) -> tuple[ServedToken, ...]:
    """The tokens of an answer in either form of the OpenAI API; none if they are in another form."""
    try:
        if isinstance(given.get("content"), list):
            return tuple(
                ServedToken(
                    str(one["token"]),
                    _number(one["logprob"]),
                    {str(top["token"]): _number(top["logprob"]) for top in one["top_logprobs"]},
                )
                for one in given["content"]
            )
        return tuple(
            ServedToken(
                str(text),
                _number(logprob),
                {str(name): _number(value) for name, value in (tops or {}).items()},
            )
            for text, logprob, tops in zip_longest(
                given["tokens"], given["token_logprobs"], given["top_logprobs"] or ()
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _number(value: Any) -> float:
    """A finite log-probability; raises ValueError or TypeError."""
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)
