"""Which secret probes a check asks: pure.

Every check asks another subset.  A subset holds probes that tell the judged version from the one that was live before
and from the base, and others; probes with a context are asked before and after the weights are replaced, so that a
prefix cache of the old weights shows.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from editing.secret_probes import SecretProbe, SecretProbes
from kbsync.deployment.judgement import DISCRIMINATES, apart, coarsest

Lot = Callable[[str], bytes]
"""A text → its place in a secret order."""


def lot(secret: bytes, purpose: str) -> Lot:
    """A secret order of texts, another one for each purpose."""
    return lambda text: hmac.digest(secret, f"{purpose}\0{text}".encode(), "sha256")


def subset(pool: SecretProbes, count: int, check: int, order: Lot) -> tuple[SecretProbe, ...]:
    """At most `count` probes without context for the check with this number, counted from 0.

    Each group of probes is asked to its end, in a secret order, before one of it is asked again.
    """
    plain = [probe for probe in pool.probes if not probe.context]
    near, far = telling(pool, plain, "live"), telling(pool, plain, "base")
    shares = ((near, -(-count * 3 // 8)), (far, count // 4), (plain, count))
    found: dict[str, SecretProbe] = {}
    for name, (group, share) in enumerate(shares):
        for probe in _turn(group, share, check, lambda text, name=name: order(f"{name}\0{text}")):  # type: ignore[misc]
            if len(found) < count:
                found.setdefault(probe.prompt, probe)
    return tuple(found.values())


def primed(pool: SecretProbes, count: int, check: int, order: Lot) -> tuple[SecretProbe, ...]:
    """At most `count` probes with a context, those that tell the judged version from live first."""
    long = [probe for probe in pool.probes if probe.context]
    best = telling(pool, long, "live") or telling(pool, long, "base") or long
    return _turn(best, count, check, lambda text: order(f"primed\0{text}"))


def passes(probes: Sequence[SecretProbe], repeats: int, check: int, order: Lot) -> list[SecretProbe]:
    """All probes, `repeats` times, each time in another secret order: replicas may take turns."""
    return [
        probe
        for turn in range(repeats)
        for probe in sorted(probes, key=lambda probe: order(f"{check}\0{turn}\0{probe.prompt}"))
    ]


def telling(pool: SecretProbes, probes: Sequence[SecretProbe], other: str) -> list[SecretProbe]:
    """The `probes` to which the version `other` ("live" or "base") answers otherwise than the judged one."""
    allowed = coarsest(pool.deviations)
    return [
        probe
        for probe in probes
        if (answer := getattr(probe, other)) is not None
        and apart(probe, answer) > DISCRIMINATES * (allowed or 0.0)
    ]


def _turn(group: Sequence[SecretProbe], share: int, check: int, order: Lot) -> tuple[SecretProbe, ...]:
    """The next `share` of the group: all are asked once, in a secret order, then all again in another one."""
    found: dict[str, SecretProbe] = {}
    share = min(share, len(group))
    for place in range(check * share, (check + 1) * share):
        turn, index = divmod(place, len(group))
        ordered = sorted(group, key=lambda probe: order(f"{turn}\0{probe.prompt}"))
        found[ordered[index].prompt] = ordered[index]
    return tuple(found.values())
