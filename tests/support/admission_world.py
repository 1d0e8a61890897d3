"""Building blocks of admission's tests: statements, observations, and a source that plays them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from connectors.observations import Entity, Health, Observation, Poll, Rank, Statement, Triple
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.intake.pull import Intake
from kbsync.intake.report import IntakeReport
from kbsync.intake.source import Source
from state.ledger import State
from state.records import Fact

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CATALOGUE: Catalogue = load_catalogue()
HEAD = "wdt:P6"


class Clock:
    """Injected time."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by


def entity(name: str, label: str | None = None, *aliases: str, living: bool | None = False) -> Entity:
    """`italy` becomes wd:italy, labelled Italy unless told otherwise."""
    return Entity(f"wd:{name}", name.replace("_", " ").title() if label is None else label, aliases, living)


def says(
    name: str | Entity | None,
    rank: Rank = "normal",
    start: datetime | None = None,
    end: datetime | None = None,
    references: int = 1,
    id: str | None = None,
) -> Statement:
    """One statement; None is an explicit no-value."""
    thing = entity(name) if isinstance(name, str) else name
    statement = id or f"s-{thing.id if thing else 'none'}"
    return Statement(statement, "entity" if thing else "novalue", thing, rank, start, end, references)


def observed(
    subject: str | Entity,
    *held: Statement | str,
    revision: int = 1,
    modified: datetime | None = START - 30 * DAY,
    at: datetime = START,
    relation: str = HEAD,
    source: str = "kb",
) -> Observation:
    statements = tuple(says(one) if isinstance(one, str) else one for one in held)
    about = entity(subject) if isinstance(subject, str) else subject
    return Observation(source, about, relation, statements, revision, modified, at)


@dataclass
class Script:
    """A source that says what it is told to: a connector without a network."""

    name: str = "kb"
    steps: list[Poll] = field(default_factory=list)
    now: dict[tuple[str, str], Observation] = field(default_factory=dict)
    """What a re-read finds."""

    def tell(self, *observations: Observation, **more: object) -> None:
        cursor = str(len(self.steps) + 1)
        self.steps.append(Poll(tuple(observations), cursor, **more))  # type: ignore[arg-type]
        self.now.update({(o.subject.id, o.relation): o for o in observations})

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        yield from self.steps[int(cursor or 0) :]

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        yield Poll(tuple(self.now[slot] for slot in slots if slot in self.now), None)

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return tuple(
            triple
            for triple in self._triples()
            if triple.relation == relation and object_id in (None, triple.object.id)
        )[:limit]

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return tuple(triple for triple in self._triples() if triple.subject.id == subject_id)[:limit]

    def _triples(self) -> Iterator[Triple]:
        for observation in self.now.values():
            for statement in observation.statements:
                if statement.object is not None:
                    yield Triple(observation.subject, observation.relation, statement.object)

    def check(self) -> Health:
        return Health(True, "scripted")

    def close(self) -> None:
        return None


def sources_of(*scripts: Script) -> dict[str, Source]:
    """Scripts as an application has its sources: each in a thread of its own, with a deadline."""
    return {script.name: Source(script.name, lambda script=script: script, 10 * MINUTE) for script in scripts}


@dataclass
class World:
    """A ledger, a clock, a policy, and one cycle after another."""

    state: State
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)
    kb: Script = field(default_factory=Script)
    special_tokens: frozenset[str] = frozenset()

    @property
    def intake(self) -> Intake:
        return Intake(self.state, self.policy, self.catalogue, self.clock, special_tokens=self.special_tokens)

    def cycle(
        self, *sources: Script, after: timedelta = timedelta(0), bootstrap: bool | None = None
    ) -> IntakeReport:
        """`after` some time: pull every source, new ones as a bootstrap, then release what is due."""
        self.clock.forward(after)
        intake, report = self.intake, IntakeReport()
        for source in sources or (self.kb,):
            report.merge(
                intake.pull(source, bootstrap=self._is_new(source) if bootstrap is None else bootstrap)
            )
        report.merge(intake.release_due())
        return report

    def _is_new(self, source: Script) -> bool:
        with self.state.read() as tx:
            return tx.cursor(source.name) is None

    def hear(self, *observations: Observation, after: timedelta = timedelta(0)) -> IntakeReport:
        """The usual source says this, and a cycle runs."""
        self.clock.forward(after)
        self.kb.tell(*observations)
        return self.cycle()

    def facts(self) -> tuple[Fact, ...]:
        with self.state.read() as tx:
            return tx.facts()

    def fact(self, subject: str, object: str) -> Fact:
        """The slot's row for an object; the newest if it was spelled in several ways."""
        return [f for f in self.facts() if (f.subject, f.object) == (f"wd:{subject}", f"wd:{object}")][-1]

    def wanted(self) -> dict[str, str]:
        """Subject -> target of everything wanted (tests that use one relation)."""
        return {
            fact.subject.removeprefix("wd:"): fact.target for fact in self.facts() if fact.status == "wanted"
        }

    def status(self, subject: str, object: str) -> str:
        """`status code`, such as `quarantined homonym`; `none` where there is no row."""
        rows = [f for f in self.facts() if (f.subject, f.object) == (f"wd:{subject}", f"wd:{object}")]
        return f"{rows[-1].status} {rows[-1].reason_code}" if rows else "none"

    def events(self) -> int:
        with self.state.read() as tx:
            head = tx.head()
        return head.seq if head else 0


OpenWorld = Callable[..., World]
"""Opens a world on a fresh ledger; keywords are settings of its policy."""
