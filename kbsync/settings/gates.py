"""`[gates.NAME]` overrides a gate; `[gate_commands.NAME]` adds gates that a program of the operator measures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from pydantic import Field, field_validator

from connectors.durations import PositiveDuration
from connectors.guesses import did_you_mean
from kbsync.errors import BadConfiguration
from kbsync.gates import DEFAULT_GATES, Direction, Gate
from kbsync.programs import check_placeholders
from kbsync.settings.section import Section

PLACEHOLDERS = frozenset({"candidate", "live", "base"})
"""Placeholders in braces that a gate command's arguments may contain."""
_ADVICE = "if the fault is in the program, correct it and let `kbsync rebuild` judge again"
_NAME = re.compile("[a-z][a-z0-9_]{0,63}")


class GateSettings(Section):
    """Overrides of one gate; see `kbsync gates` for the defaults."""

    threshold: float | None = Field(None, description="what the measure, or its bound, is compared with")
    margin: float | None = Field(None, description="how much worse than live a candidate may be")
    confidence: float | None = Field(
        None, gt=0.5, lt=1, description="confidence of the bound of a sampled measure"
    )
    enabled: bool | None = Field(None, description="whether the gate is applied at all")
    required: bool | None = Field(None, description="whether the gate fails if no case applies to it")


class CommandGateSettings(Section):
    """One gate on a measure that a gate command prints."""

    threshold: float = Field(description="what the measure, or its bound, is compared with")
    direction: Direction = Field("at_least", description="which side of the threshold passes")
    explains: str = Field("", description="what the measure is, as a noun phrase; shown by `kbsync gates`")
    advice: str = Field("", description="what to do if the gate fails")
    margin: float | None = Field(None, description="how much worse than live a candidate may be")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of the bound of a sampled measure")
    required: bool = Field(False, description="whether the gate fails if no case applies to it")


class GateCommandSettings(Section):
    """A program that measures candidates, started without a shell; what it prints is described in docs/gates.md."""

    command: tuple[str, ...] = Field(
        min_length=1,
        description="program and arguments; {candidate}, {live} and {base} become directories, {live} an empty "
        "argument while nothing is live",
    )
    timeout: PositiveDuration = Field(
        timedelta(minutes=30), description="time after which it is killed and its gates fail"
    )
    environment: tuple[str, ...] = Field(
        (), description="variables of the daemon that it gets besides the basic ones (PATH, HOME, LANG, …)"
    )
    gates: dict[str, CommandGateSettings] = Field(
        min_length=1, description="measure that it prints → the gate on it"
    )

    @field_validator("command")
    @classmethod
    def _known_placeholders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_placeholders(value, PLACEHOLDERS)
        return value

    @field_validator("gates")
    @classmethod
    def _well_named(cls, value: dict[str, CommandGateSettings]) -> dict[str, CommandGateSettings]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not the name of a gate: use a–z, 0–9 and _, and begin with a letter"
                )
        return value


def gates_in_force(
    overrides: Mapping[str, GateSettings], commands: Mapping[str, GateCommandSettings]
) -> tuple[Gate, ...]:
    """The default gates with the overrides, then the commands' own.

    Raises BadConfiguration for an override of an unknown gate and for a name that two gates have.
    """
    defaults = {gate.name: gate for gate in DEFAULT_GATES}
    for name in sorted(overrides.keys() - defaults):
        advice = f"{did_you_mean(name, defaults)}gates are: {', '.join(sorted(defaults))}"
        raise BadConfiguration(f"[gates.{name}] is not a gate", advice)
    found = {name: _overridden(gate, overrides.get(name)) for name, gate in defaults.items()}
    for where, gate in _of_commands(commands):
        if gate.name in found:
            raise BadConfiguration(f"{where}: another gate has this name", "choose another name")
        found[gate.name] = gate
    return tuple(found.values())


def _overridden(gate: Gate, overrides: GateSettings | None) -> Gate:
    return replace(gate, **overrides.model_dump(exclude_none=True)) if overrides else gate


def _of_commands(commands: Mapping[str, GateCommandSettings]) -> Iterator[tuple[str, Gate]]:
    for command, settings in sorted(commands.items()):
        for name, declared in settings.gates.items():
            values = declared.model_dump() | {
                "explains": declared.explains or f"`{name}`, as the gate command {command!r} measures it",
                "advice": declared.advice or _ADVICE,
            }
            yield f"[gate_commands.{command}.gates.{name}]", Gate(name=name, **values)
