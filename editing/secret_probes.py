"""Secret probes: questions by which a server's answers show which version of the model it serves.

kbsync draws `SecretQuestions`, the worker answers them with the candidate that it read back from disk, with live and
with the base (`SecretProbes`).  Both are files that only their owner can read; neither is part of a checkpoint, a spec
or a report.  Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from editing.durable import make_directory, write_file
from editing.errors import SpecError
from editing.json_decode import decode

VERSION = 1
PRIVATE = 0o600
Kind = Literal["changed", "kept", "untouched"]
"""What a question is about: a fact that live states otherwise, a fact of live, or something that no edit touches."""

SURE = 8.0
"""A token is certain if it leads the next one by more than this many standard deviations of a logit."""
_UNMEASURED = 0.25
"""Standard deviation of a logit where none was measured."""

T = TypeVar("T")


def certain_lead(deviations: Mapping[str, float]) -> float:
    """The difference of two logits that rounding to 16 bits does not turn.

    `deviations`: dtype → standard deviation of a logit, as measured.
    """
    return SURE * max(deviations.values(), default=_UNMEASURED)


@dataclass(frozen=True, slots=True)
class SecretQuestion:
    """One question."""

    prompt: str
    kind: Kind
    context: tuple[str, ...] = ()
    """Sentences in front of the prompt, so that it is long enough for a prefix cache.  The first ones are left out if
    the model cannot read them all."""


@dataclass(frozen=True, slots=True)
class SecretQuestions:
    """The questions drawn for one candidate."""

    questions: tuple[SecretQuestion, ...]
    version: int = VERSION

    def write(self, path: Path) -> None:
        """Write to `path`, atomically, for the owner only."""
        _write(path, self)

    @classmethod
    def read(cls, path: Path) -> SecretQuestions:
        """Raises SpecError."""
        return _read(cls, path)

    def without(self, named: Callable[[str], bool]) -> SecretQuestions:
        """Without the questions of which a text is `named`."""
        kept = tuple(one for one in self.questions if not any(map(named, (one.prompt, *one.context))))
        return replace(self, questions=kept)


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A model's greedy answer, token by token, as computed in fp32."""

    texts: tuple[str, ...] = ()
    """The text of the first token, of the first two, and so on."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token."""
    sensitivities: tuple[float, ...] = ()
    """How far each log-probability moves for logits that are off by 1, root mean square: ‖e_token − p‖."""
    magnitudes: tuple[float, ...] = ()
    """At each token, the smallest absolute value among the likeliest logits, which the grid of 16-bit logits is of."""


@dataclass(frozen=True, slots=True)
class SecretProbe:
    """One question with its answers."""

    prompt: str
    """As it is asked, with its context."""
    kind: Kind
    judged: ProbeAnswer
    """Of the candidate that the gates judged."""
    base: ProbeAnswer
    certain: int
    """Number of tokens of `judged` that any honest computation gives: they lead by more than rounding explains."""
    live: ProbeAnswer | None = None
    context: bool = False
    """Whether the prompt is long enough for a prefix cache."""

    def texts(self) -> Iterator[str]:
        """The prompt and every answer."""
        yield self.prompt
        for answer in (self.judged, self.base, self.live):
            yield from answer.texts[-1:] if answer is not None else ()


@dataclass(frozen=True, slots=True)
class SecretProbes:
    """The answers to a candidate's secret questions."""

    checkpoint: str
    """Digest of the candidate."""
    live: str
    """Name of the live checkpoint's directory; empty if there was none."""
    probes: tuple[SecretProbe, ...]
    deviations: dict[str, float] = field(default_factory=dict)
    """dtype → root mean square deviation of a logit that is computed in it, as measured on these questions."""
    version: int = VERSION

    def write(self, path: Path) -> None:
        """Write to `path`, atomically, for the owner only; the directory is created if it is missing."""
        make_directory(path.parent)
        _write(path, self)

    @classmethod
    def read(cls, path: Path) -> SecretProbes:
        """Raises SpecError."""
        return _read(cls, path)

    def without(self, named: Callable[[str], bool]) -> SecretProbes:
        """Without the probes of which the prompt or an answer is `named`."""
        return replace(self, probes=tuple(one for one in self.probes if not any(map(named, one.texts()))))


def _write(path: Path, value: Any) -> None:
    content = json.dumps(asdict(value), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    write_file(path, content, mode=PRIVATE)


def _read(kind: type[T], path: Path) -> T:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    return decode(kind, value, path.name)
