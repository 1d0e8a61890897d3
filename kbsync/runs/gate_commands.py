"""Gate commands: programs of the operator that measure a candidate.

A program gets the directories of the candidate, of live and of the base, in its arguments and as KBSYNC_CANDIDATE,
KBSYNC_LIVE and KBSYNC_BASE, and prints one JSON object to stdout: measure → number, or an object with `value` and
optionally `n`, `k`, `live` and `sampled`.  A program that fails fails its gates, never the daemon.

What was measured is kept in the run's directory, so that a restart does not measure the same candidate twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from connectors.border import decode_json
from connectors.errors import ConnectorError
from editing.durable import write_file
from editing.spec import Measure
from kbsync.application import Application
from kbsync.environments import COMPUTE_PREFIXES, minimal
from kbsync.executor import Stopping
from kbsync.gates import GateVerdict
from kbsync.home import PRIVATE
from kbsync.leadership import Leadership
from kbsync.programs import ProgramFailed, ProgramLimits, filled, run_program
from kbsync.settings.gates import GateCommandSettings
from kbsync.visible import visible

log = structlog.get_logger()

_LONGEST = 600
"""Maximum number of characters kept of a failure."""


class PrintedMeasure(BaseModel):
    """A measure as a gate command prints it; a bare number is its value."""

    model_config = ConfigDict(extra="forbid", strict=True)

    value: float = Field(allow_inf_nan=False)
    n: int = Field(0, ge=0)
    """Number of cases."""
    k: int | None = Field(None, ge=0)
    """Number of cases that were as expected, for a share."""
    live: float | None = Field(None, allow_inf_nan=False)
    """The same figure of live, on the same cases."""
    sampled: bool = False
    """Whether the cases are a sample, so that the gate compares the confidence bound."""

    def measure(self, name: str) -> Measure:
        return Measure(name, self.value, self.n, self.k, exhaustive=not self.sampled, live=self.live)


class CommandResult(BaseModel):
    """What one gate command printed, or why it measured nothing."""

    model_config = ConfigDict(extra="forbid")

    command: tuple[str, ...]
    gates: tuple[str, ...]
    """Names of the gates that were set on it then; only their measures are kept."""
    measures: dict[str, PrintedMeasure] = Field(default_factory=dict)
    failure: str = ""


class CommandResults(BaseModel):
    """What the gate commands of one round measured, as kept in its directory."""

    candidate: str
    """Digest of the checkpoint that was measured."""
    commands: dict[str, CommandResult] = Field(default_factory=dict)

    def measures(self, commands: Iterable[str]) -> tuple[Measure, ...]:
        """The measures of these commands."""
        return tuple(
            printed.measure(name)
            for command in commands
            for name, printed in self.commands[command].measures.items()
        )


_PRINTED = TypeAdapter(dict[str, PrintedMeasure | float])


@dataclass(frozen=True, slots=True)
class Directories:
    """What a gate command looks at; nothing may be live yet."""

    candidate: Path
    live: Path | None
    base: Path

    def names(self) -> dict[str, str]:
        live = "" if self.live is None else str(self.live)
        return {"candidate": str(self.candidate), "live": live, "base": str(self.base)}


def measure(
    app: Application, leadership: Leadership, directories: Directories, digest: str, kept: Path
) -> CommandResults:
    """Run every gate command that has not measured the candidate with this digest yet; keep the results in `kept`.

    Raises Stopping at SIGTERM, and what interrupts the leader; what was measured until then is kept.
    """
    results = _kept(kept, digest)
    for name, settings in sorted(app.settings.gate_commands.items()):
        asked = (settings.command, tuple(sorted(settings.gates)))
        if (before := results.commands.get(name)) and (before.command, before.gates) == asked:
            continue
        log.info("gate_command.started", command=name)
        result = CommandResult(command=settings.command, gates=asked[1])
        try:
            result.measures = _run(app, leadership, name, settings, directories)
        except (ProgramFailed, ConnectorError) as error:
            result.failure = visible(str(error), _LONGEST)
            log.warning("gate_command.failed", command=name, reason=result.failure)
        results.commands[name] = result
        write_file(kept, results.model_dump_json().encode(), mode=PRIVATE)
    return results


def explained(
    verdicts: Iterable[GateVerdict], commands: Mapping[str, GateCommandSettings], results: CommandResults
) -> tuple[GateVerdict, ...]:
    """The verdicts; where a gate command left out a measure, the verdict on it says why."""
    why: dict[str, str] = {}
    for command, settings in commands.items():
        result = results.commands[command]
        reason = result.failure or f"the gate command {command!r} did not print it"
        why |= dict.fromkeys(settings.gates.keys() - result.measures.keys(), reason)
    return tuple(
        replace(verdict, detail=f"not measured: {why[verdict.name]}") if verdict.name in why else verdict
        for verdict in verdicts
    )


def _kept(path: Path, digest: str) -> CommandResults:
    """What was measured of this candidate before a restart."""
    try:
        found = CommandResults.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return CommandResults(candidate=digest)
    except ValidationError as error:
        log.warning("gate_command.unreadable", path=str(path), reason=str(error.errors()[0]["msg"]))
        return CommandResults(candidate=digest)
    return found if found.candidate == digest else CommandResults(candidate=digest)


def _run(
    app: Application,
    leadership: Leadership,
    name: str,
    settings: GateCommandSettings,
    directories: Directories,
) -> dict[str, PrintedMeasure]:
    """What the command prints; raises ProgramFailed or ConnectorError if it cannot be had."""

    def check() -> None:
        if app.stopping.is_set():
            raise Stopping("stopped while a gate command was running", "it runs again at the next start")
        leadership.renew()

    names = directories.names()
    environment = minimal(named=settings.environment, prefixes=COMPUTE_PREFIXES)
    environment |= {f"KBSYNC_{key.upper()}": value for key, value in names.items()}
    limits = ProgramLimits(settings.timeout.total_seconds(), check)
    arguments = [filled(argument, names) for argument in settings.command]
    printed = run_program(arguments, environment, limits, purpose=f"gate command {name}")
    return _read(printed, settings.gates)


def _read(printed: str, declared: Iterable[str]) -> dict[str, PrintedMeasure]:
    """The declared measures among those printed; raises ProgramFailed or ConnectorError where that is no such JSON."""
    values = decode_json(printed, "the output of the gate command", unique_keys=True)
    try:
        found = _PRINTED.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its output"
        raise ProgramFailed(
            f"{place}: {first['msg']}; see docs/gates.md for what a gate command prints"
        ) from error
    return {
        name: value if isinstance(value, PrintedMeasure) else PrintedMeasure(value=value)
        for name, value in found.items()
        if name in set(declared)
    }
