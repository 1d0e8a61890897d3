"""Digests of everything that decides what kbsync does, so that the audit log records when it changed.

Secrets are removed before digesting, because a short password could be recovered from its digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from editing.spec import Case
from kbsync import __version__
from kbsync.gates import Gate
from kbsync.settings.redacted import redacted
from kbsync.settings.sections import Settings
from state.in_force import InForce

JUDGED_BY: dict[str, Any] = {
    "model": {"path", "corpus", "heldout"},
    "edit": True,
    "plan": {"variants", "aliases", "neighbours", "same_subject", "paraphrases", "generate"},
    "relations": True,
}
"""Settings that decide, besides the gates, how a fact is edited and judged."""


def in_force(settings: Settings, gates: Iterable[Gate], canaries: Iterable[Case]) -> InForce:
    """The digest of every section; for `gates` and `canaries`, of the effective values, not of how they are written."""
    gates = tuple(gates)
    values: dict[str, Any] = redacted(settings.model_dump(mode="json"))
    values["gates"] = [gate.settings() for gate in gates]
    values["canaries"] = [[case.prompt, case.target] for case in canaries]
    thresholds = {
        gate.name: {
            "threshold": gate.threshold,
            "margin": gate.margin,
            "confidence": gate.confidence,
            "enabled": gate.enabled,
            "required": gate.required,
        }
        for gate in gates
    }
    return InForce(__version__, {name: digest(value) for name, value in values.items()}, thresholds)


def judged_under(settings: Settings, gates: Iterable[Gate]) -> str:
    """Digest of the settings that decide whether a fact passes its gates.

    A fact that failed a gate under other settings may pass under these.
    """
    values: dict[str, Any] = settings.model_dump(mode="json", include=JUDGED_BY)
    values["gates"] = [gate.settings() for gate in gates if gate.judges_facts]
    return digest(redacted(values))


def verdicts_under(settings: Settings, gates: Iterable[Gate], canaries: Iterable[Case]) -> str:
    """Digest of the settings that decide whether a candidate passes: if equal, a view gets the same verdict."""
    gates = tuple(gates)
    everything = [gate.settings() for gate in gates]
    asked = [[case.prompt, case.target] for case in canaries]
    commands = {name: [*one.command] for name, one in settings.gate_commands.items()}
    further: list[object] = [commands] if commands else []
    if settings.refusals.prompts is not None:
        further.append([*settings.refusals.phrases])
    if (judge := settings.judge) is not None:
        further.append({"judge": [judge.url, judge.model, judge.share]})
    return digest([judged_under(settings, gates), everything, asked, *further])


def is_stale(evidence: Mapping[str, Any], settings: str, base: str | None) -> bool:
    """Whether a fact failed a gate or could not be built under other settings or on another base than now.

    `base` is that of the newest run.  Evidence written by older versions lacks the settings and counts as stale.
    """
    if not evidence.keys() & {"gate", "failure"}:
        return False
    same_base = base is None or evidence.get("base") in (None, base)
    return evidence.get("settings") != settings or not same_base


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as JSON with sorted names."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
