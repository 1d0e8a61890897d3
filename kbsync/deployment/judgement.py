"""Whether a server's answers are those of the version that the gates judged, and of which version else: pure.

A text must begin with the tokens that every honest computation gives.  Log-probabilities are compared in standard
deviations of a logit, as measured by the worker for the dtype in which the server computes.  That dtype shows in the
answers: logits of a 16-bit output layer lie on a grid, and so do the differences of log-probabilities.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from editing.secret_probes import ProbeAnswer, SecretProbe, SecretProbes

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Kind = Literal["judged", "previous", "base", "replicas", "prefix cache", "altered", "something else"]

_BROAD = 3.0
"""Root mean square over all answers, in standard deviations, that a dtype's own rounding explains."""
_EXACT = 1.5
"""The same for fp32, in standard deviations of fp16: TF32 rounds factors as fp16 does."""
_ONE = 3.0
"""A single answer may deviate by this many times as much as all together."""
DISCRIMINATES = 2 * _ONE
"""Probes tell versions apart whose answers are this many times the explained deviation apart."""
_FRACTION = {"bfloat16": 7, "float16": 10}
"""Bits of a number's fraction."""
_FINEST = 2.0**-5
"""Logits below this are on a grid that is too fine to be seen."""
_ROUNDING = 8e-6
"""Error of a difference of two fp32 log-probabilities."""
_ENOUGH = 8
"""So many differences show a grid."""


@dataclass(frozen=True, slots=True)
class Said:
    """A server's answer to one probe."""

    probe: SecretProbe
    text: str
    logprobs: tuple[float, ...] = ()
    """Of its tokens; empty if the server gives none."""
    tops: tuple[tuple[float, ...], ...] = ()
    """At each token, the log-probabilities of the likeliest tokens."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server's answers show."""

    kind: Kind
    detail: str
    """A sentence without any text of a probe."""

    @property
    def ok(self) -> bool:
        return self.kind == "judged"


def judge(
    said: Sequence[Said], pool: SecretProbes, precision: Precision = "auto", primed: Iterable[str] = ()
) -> Verdict:
    """The verdict on all answers of one check; `primed`: prompts that were also asked before the weights changed."""
    dtype = served_in(said) if precision == "auto" else precision
    allowed = tolerance(pool.deviations, dtype)
    wrong = [one for one in said if not agrees(one, one.probe.judged, allowed)]
    off = _root_mean_square(part for one in said for part in deviations(one, one.probe.judged))
    if not wrong and (allowed is None or off is None or off <= allowed):
        return Verdict("judged", _confirmed(said, off, dtype))
    return _explained(said, wrong, pool, allowed, (off, dtype, frozenset(primed)))


def _confirmed(said: Sequence[Said], off: float | None, dtype: str | None) -> str:
    probes = len({one.probe.prompt for one in said})
    how = (
        "; it gives no log-probabilities"
        if off is None
        else f", log-probabilities as in {dtype or '16 bits'}"
    )
    return f"{len(said)} answers to {probes} secret probes are those of the judged version{how}"


def _explained(
    said: Sequence[Said],
    wrong: Sequence[Said],
    pool: SecretProbes,
    allowed: float | None,
    seen: tuple[float | None, str | None, frozenset[str]],
) -> Verdict:
    """What is served instead, as far as the answers show it."""
    off, dtype, primed = seen
    counts = f"{len(said) - len(wrong)} of {len(said)} answers are those of the judged version"
    if _torn(said, wrong):
        return Verdict(
            "replicas",
            f"the same probe is answered differently ({counts}): replicas behind one address serve different "
            f"versions{_likeliest(wrong, pool, allowed)}",
        )
    if wrong and len(wrong) < len(said) and all(one.probe.prompt in primed for one in wrong):
        return Verdict(
            "prefix cache",
            f"only probes that were also asked before the weights changed are answered wrongly ({counts}): "
            "its prefix cache holds keys and values of the old weights",
        )
    for kind, name, answer in _others(pool):
        if not wrong or not all(_is(one, answer(one.probe), allowed) for one in wrong):
            continue
        if all(_is(one, answer(one.probe), allowed) for one in said):
            return Verdict(kind, f"every answer is that of {name} ({counts})")
        return Verdict(
            "replicas",
            f"{counts}, all others those of {name}: replicas behind one address serve different versions",
        )
    if all(_begins(one, one.probe.judged) for one in said):
        times = "" if off is None or not allowed else f" {off / allowed:.1f} times"
        return Verdict(
            "altered",
            f"the texts are those of the judged version, but log-probabilities deviate{times} more than "
            f"{dtype or 'rounding to 16 bits'} explains: weights that are rounded further, or partly loaded",
        )
    return Verdict(
        "something else",
        f"{counts}{_likeliest(wrong, pool, allowed)}: weights that are partly loaded, or of another model",
    )


def _torn(said: Sequence[Said], wrong: Sequence[Said]) -> bool:
    """Whether one prompt was answered both rightly and wrongly."""
    asked = Counter(one.probe.prompt for one in said)
    return any(count < asked[prompt] for prompt, count in Counter(one.probe.prompt for one in wrong).items())


_Other = tuple[Kind, str, Callable[[SecretProbe], ProbeAnswer | None]]


def _others(pool: SecretProbes) -> list[_Other]:
    """The versions that a server may serve instead; live first."""
    base: _Other = ("base", "the base model", lambda probe: probe.base)
    live: _Other = ("previous", f"the previous version {pool.live}", lambda probe: probe.live)
    return [live, base] if pool.live else [base]


def _is(said: Said, answer: ProbeAnswer | None, allowed: float | None) -> bool:
    """Whether an answer may be that of a version, of which none is known if it was not asked."""
    return answer is None or agrees(said, answer, allowed)


def _likeliest(wrong: Sequence[Said], pool: SecretProbes, allowed: float | None) -> str:
    """Which other version gives most of the wrong answers, if one gives any."""
    counts = [
        (sum(_is(one, answer(one.probe), allowed) for one in wrong), name)
        for _, name, answer in _others(pool)
    ]
    count, name = max(counts)
    return f"; {count} of the {len(wrong)} others are those of {name}" if count else ""


def agrees(said: Said, answer: ProbeAnswer, allowed: float | None) -> bool:
    """Whether one answer may be that of a version; `allowed` is None if log-probabilities prove nothing."""
    if not _begins(said, answer):
        return False
    off = _root_mean_square(deviations(said, answer))
    return off is None or allowed is None or off <= _ONE * allowed


def _begins(said: Said, answer: ProbeAnswer) -> bool:
    """Whether the text begins with the answer's, as far as the probe is certain."""
    count = min(said.probe.certain, len(answer.texts))
    expected = _plain(answer.texts[count - 1]) if count else ""
    return _plain(said.text).startswith(expected) if expected or count else not _plain(said.text)


def _plain(text: str) -> str:
    """Without differences of white space, which decoders treat differently."""
    return " ".join(text.split())


def deviations(said: Said, answer: ProbeAnswer) -> list[float]:
    """By how much logits deviate from the answer's, for each certain token; none if the text is another."""
    if not _begins(said, answer):
        return []
    count = min(said.probe.certain, len(said.logprobs), len(answer.logprobs))
    return [
        (said.logprobs[index] - answer.logprobs[index]) / answer.sensitivities[index]
        for index in range(count)
    ]


def apart(probe: SecretProbe, other: ProbeAnswer) -> float:
    """How far the answers of the judged version and another one are apart; infinite if the texts differ."""
    as_said = Said(probe, other.texts[-1] if other.texts else "", other.logprobs)
    if not _begins(as_said, probe.judged):
        return math.inf
    return _root_mean_square(deviations(as_said, probe.judged)) or 0.0


def tolerance(measured: Mapping[str, float], dtype: str | None) -> float | None:
    """The root mean square deviation of a logit that computing in `dtype` explains.

    None if nothing was measured: log-probabilities then prove nothing.
    """
    if dtype == "float32" and "float16" in measured:
        return _EXACT * measured["float16"]
    if dtype is not None and dtype in measured:
        return _BROAD * measured[dtype]
    return coarsest(measured)


def coarsest(measured: Mapping[str, float]) -> float | None:
    """The tolerance for a server whose dtype is unknown."""
    return _BROAD * max(measured.values()) if measured else None


def served_in(said: Sequence[Said]) -> str | None:
    """The dtype of the server's output layer, as its log-probabilities show; None if they do not."""
    gaps = [gap for one in said for gap in _gaps(one)]
    values = [value for one in said for top in one.tops for value in top]
    if len(gaps) < _ENOUGH or all(value == round(value, 5) for value in values):
        return None
    for dtype, fraction in _FRACTION.items():
        if sum(1 for gap, binade in gaps if _on_grid(gap, 2.0 ** (binade - fraction))) >= 0.9 * len(gaps):
            return dtype
    return "float32"


def _gaps(said: Said) -> Iterator[tuple[float, int]]:
    """Differences of neighbouring log-probabilities, each with the binade below that of the smallest logit."""
    for top, magnitude in zip(said.tops, said.probe.judged.magnitudes, strict=False):
        if magnitude >= _FINEST:
            # One below, since the server's own logit may be just below a power of two.
            binade = math.floor(math.log2(magnitude)) - 1
            yield from ((high - low, binade) for high, low in pairwise(top))


def _on_grid(gap: float, step: float) -> bool:
    return abs(gap - round(gap / step) * step) <= _ROUNDING


def _root_mean_square(values: Iterable[float]) -> float | None:
    squares = [value * value for value in values]
    return math.sqrt(sum(squares) / len(squares)) if squares else None
