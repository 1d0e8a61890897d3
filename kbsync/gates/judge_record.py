"""What a judge model was asked about a candidate, and what it answered, as kept in the round's directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editing.spec import BuildReport
from editing.undecided import FreeVerdict, UndecidedAnswer

Side = Literal["candidate", "live"]


class AnswerPlace(NamedTuple):
    """Where a free answer is: the fact, the measure, the place among its questions about the fact, and whose it is."""

    fact: str
    measure: str
    place: int
    side: Side


class JudgeReply(BaseModel):
    """One question to the judge, and its answer as it was received."""

    model_config = ConfigDict(extra="forbid")

    asked: dict[str, str]
    """The question, names and answer that the user's message consists of; the system's one is in the record."""
    answer: str = ""
    """The text that it answered; empty if there was none."""
    verdict: FreeVerdict = "undecided"
    reason: str = ""
    """The judge's own sentence."""
    problem: str = ""
    """Why there is no answer, or why it cannot be read."""


class JudgedAnswer(BaseModel):
    """A free answer that the judge was asked about."""

    model_config = ConfigDict(extra="forbid")

    place: AnswerPlace
    exchange: str
    """Key of the exchange; two answers alike have one."""


class Control(BaseModel):
    """A question to which the right verdict is known."""

    model_config = ConfigDict(extra="forbid")

    expected: FreeVerdict
    exchange: str


class JudgeRecord(BaseModel):
    """Everything that was asked in one round."""

    model_config = ConfigDict(extra="forbid")

    candidate: str
    """Digest of the checkpoint whose answers these are."""
    url: str
    model: str
    share: float
    """Of a measure's answers, the largest share that the judge may settle."""
    instructions: str
    """The system's message of every exchange."""
    exchanges: dict[str, JudgeReply] = Field(default_factory=dict)
    controls: list[Control] = Field(default_factory=list)
    answers: list[JudgedAnswer] = Field(default_factory=list)
    unasked: int = 0
    """Undecided answers that it was not asked about."""
    problem: str = ""
    """Why it was not asked about all of them, or why no vote counts."""

    def votes(self) -> Mapping[AnswerPlace, bool]:
        """The answers that it settled, and whether it finds that they state the fact; none if it failed a control."""
        if self.failed_controls:
            return {}
        return {
            one.place: verdict == "right"
            for one in self.answers
            if (verdict := self.exchanges[one.exchange].verdict) != "undecided"
        }

    @property
    def failed_controls(self) -> list[Control]:
        """The controls that it did not find right, or found right, as it should have."""
        return [
            one
            for one in self.controls
            if (self.exchanges[one.exchange].verdict == "right") != (one.expected == "right")
        ]

    @property
    def summary(self) -> str:
        """How many answers got which verdict, and what went wrong."""
        verdicts = [self.exchanges[one.exchange].verdict for one in self.answers]
        found = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in get_args(FreeVerdict))
        unasked = f"; {self.unasked} undecided answers were not asked about" if self.unasked else ""
        return f"{self.model} at {self.url} judged {len(verdicts)} answers: {found}{unasked}" + (
            f"; {self.problem}" if self.problem else ""
        )


def read_record(path: Path) -> JudgeRecord | None:
    """The record in `path`; None if there is none, or if it cannot be read (it is then made again)."""
    try:
        return JudgeRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def undecided(
    report: BuildReport, measures: Iterable[str], *, of_live: Iterable[str] = ()
) -> Iterator[tuple[AnswerPlace, UndecidedAnswer, str]]:
    """(place, question, answer) of the undecided answers to `measures`, and of live's to those `of_live`.

    In the order of the measures, then of the report.
    """
    for measure in measures:
        for fact in report.facts:
            for one in (one for one in fact.undecided if one.measure == measure):
                if one.candidate.verdict == "undecided":
                    yield AnswerPlace(fact.id, measure, one.place, "candidate"), one, one.candidate.text
                if measure in of_live and one.live is not None and one.live.verdict == "undecided":
                    yield AnswerPlace(fact.id, measure, one.place, "live"), one, one.live.text
