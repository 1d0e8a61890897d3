"""The settings of the daemon's operation: its schedule, worker, ledger and log."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from connectors.durations import Duration, PositiveDuration
from kbsync.settings.section import Section


class ScheduleSettings(Section):
    """How often the daemon does each of its tasks."""

    sync: PositiveDuration = Field(timedelta(minutes=15), description="time between two cycles")
    reconcile: PositiveDuration = Field(
        timedelta(hours=24), description="time between two full re-reads of all watched slots"
    )
    source_deadline: PositiveDuration = Field(
        timedelta(minutes=10),
        description="maximum time for reading one source before the next one; the rest is read in the next cycle",
    )
    audit: PositiveDuration = Field(timedelta(hours=1), description="time between two random re-reads")
    audit_slots: int = Field(100, ge=0, description="number of slots in a random re-read")
    verify: PositiveDuration = Field(
        timedelta(hours=24),
        description="time between two verifications of the log, its anchors and every row",
    )
    scrub: PositiveDuration = Field(
        timedelta(hours=24),
        description="time between two verifications of every byte of live and of the base",
    )
    anchor: PositiveDuration = Field(
        timedelta(hours=1), description="time between two exports of the audit log's head"
    )
    deploy: PositiveDuration = Field(
        timedelta(minutes=1), description="time between two checks of the servers of `[deploy.NAME]`"
    )


class ExecutorSettings(Section):
    """The editing subprocess."""

    command: tuple[str, ...] = Field(
        (),
        description="program and arguments that start a worker, such as `nice python -m editing.worker`; "
        "unset: this Python's `editing.worker`",
    )
    environment: tuple[str, ...] = Field(
        (),
        description="further variables of the daemon's environment that are passed to the worker, besides the "
        "basic ones and those of Python, CUDA, torch and transformers",
    )
    heartbeat_timeout: PositiveDuration = Field(
        timedelta(minutes=2), description="a worker without a sign of life for longer counts as hung"
    )
    attempts: int = Field(3, ge=1, description="attempts at one build before the run fails")
    stop_timeout: Duration = Field(timedelta(seconds=20), description="time between SIGTERM and SIGKILL")
    threads: int | None = Field(None, ge=1, description="CPU threads of the worker; unset: all cores")


class StateSettings(Section):
    """Where the ledger is stored, and what is kept with it."""

    url: str | None = Field(None, description="SQLAlchemy URL; unset: SQLite in the home")
    anchor: Path | None = Field(
        None, description="file outside the home to which the audit log's head is copied"
    )
    witnesses: tuple[str, ...] = Field((), description="further files, and addresses, that get the head too")
    keep: int = Field(5, ge=1, description="number of retired checkpoints kept for rollback")
    verify_before_promotion: bool = Field(
        True, description="verify the log, its anchors and every row before each promotion"
    )


class LogSettings(Section):
    """The daemon's log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum level to log")
    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")
