"""The settings of the daemon's operation: its schedule, worker, ledger and log."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from connectors.durations import Duration, PositiveDuration
from kbsync.settings.section import Section
from kbsync.settings.timing import QuietHours, Timing, Zone, quiet_until
from kbsync.settings.witnessed import WitnessKeyText


class ScheduleSettings(Section):
    """When the daemon does each of its tasks: an interval, or a crontab's five fields, see
    [scheduling.md](scheduling.md)."""

    timezone: Zone = Field("UTC", description="time zone of crontabs and quiet hours, such as Europe/Berlin")
    quiet: tuple[QuietHours, ...] = Field(
        (),
        description="times in which the schedule begins no run and promotes none, such as `22:00-06:00` or "
        "`sat,sun 00:00-24:00`",
    )
    sync: Timing = Field(timedelta(minutes=15), description="when a cycle begins")
    reconcile: Timing = Field(timedelta(hours=24), description="when all watched slots are read again")
    source_deadline: PositiveDuration = Field(
        timedelta(minutes=10),
        description="maximum time for reading one source before the next one; the rest is read in the next cycle",
    )
    audit: Timing = Field(timedelta(hours=1), description="when a random sample of slots is read again")
    audit_slots: int = Field(100, ge=0, description="number of slots in a random re-read")
    verify: Timing = Field(
        timedelta(hours=24), description="when the log, its anchors and every row are verified"
    )
    scrub: Timing = Field(
        timedelta(hours=24), description="when every byte of live and of the base is verified"
    )
    anchor: Timing = Field(timedelta(hours=1), description="when the audit log's head is exported")
    deploy: Timing = Field(
        timedelta(minutes=1), description="when the servers of `[deploy.NAME]` are checked"
    )

    def quiet_until(self, now: datetime) -> datetime | None:
        """When the quiet hours that `now` is in end; None: it is not quiet."""
        return quiet_until(self.quiet, self.timezone, now)


class FreshnessSettings(Section):
    """How soon what a source states has to be served (docs/operating.md)."""

    objective: PositiveDuration = Field(
        timedelta(hours=24),
        description="time from a source's revision until the model that states it is served",
    )
    target: float = Field(
        0.95, ge=0.0, lt=1.0, description="share of the facts that have to be served within the objective"
    )
    window: PositiveDuration = Field(timedelta(days=28), description="time over which it is measured")


def _ray_address(value: str) -> str:
    """The same address; raises ValueError for those of other protocols of Ray."""
    _, colon, port = value.rpartition(":")
    if value != "auto" and ("/" in value or not (colon and port.isascii() and port.isdecimal())):
        raise ValueError(
            f"{value!r} is not HOST:PORT of a Ray head, such as head.example.org:6379, and not auto"
        )
    return value


RayAddress = Annotated[str, AfterValidator(_ray_address)]


def _object_store(value: str) -> str:
    """The same URL; raises ValueError for one that names no bucket, or has credentials in it."""
    parts = urlsplit(value)
    if parts.scheme not in OBJECT_STORES or not parts.hostname or parts.username or parts.query:
        raise ValueError(
            f"{value!r} is not an object store: write s3://BUCKET/PREFIX, and give credentials in the environment"
        )
    return value.rstrip("/")


OBJECT_STORES = ("s3", "gs", "az")
ObjectStoreUrl = Annotated[str, AfterValidator(_object_store)]


class RaySettings(Section):
    """The Ray cluster of `kind = "ray"`, see [cluster.md](cluster.md)."""

    address: RayAddress | None = Field(
        None,
        description="address of the cluster's head, such as `head.example.org:6379`, or `auto` on a node of the "
        "cluster; unset: a cluster on this machine, for as long as a build lasts",
    )
    workers: int = Field(2, ge=1, description="number of actors; each holds the base in memory")
    cpus_per_worker: float = Field(1.0, gt=0, description="CPUs of each actor")
    devices_per_worker: float = Field(0.0, ge=0, description="GPUs of each actor")
    storage: ObjectStoreUrl | None = Field(
        None,
        description="object store through which nodes exchange files (extra `object-store`), such as "
        "`s3://bucket/prefix`, of this home alone; unset: the home and the base are on a file system that all nodes "
        "have at the same path",
    )
    base: Path | None = Field(
        None,
        description="directory on the nodes, such as one of their image, that has the imported base "
        "(`base/DIGEST` of the home); unset: nodes fetch it from `storage` once",
    )
    connect_timeout: PositiveDuration = Field(
        timedelta(minutes=2), description="maximum time for connecting to the head"
    )
    start_timeout: PositiveDuration = Field(
        timedelta(minutes=10), description="how long a build waits while no actor is running at all"
    )

    def command(self) -> tuple[str, ...]:
        """The program that directs a build on this cluster."""
        options = {
            "workers": self.workers,
            "cpus": self.cpus_per_worker,
            "devices": self.devices_per_worker,
            "connect-s": self.connect_timeout.total_seconds(),
            "start-s": self.start_timeout.total_seconds(),
        }
        given = [f"--{name}={value:g}" for name, value in options.items()]
        names = {"address": self.address, "storage": self.storage, "base": self.base}
        given += [f"--{name}={value}" for name, value in names.items() if value is not None]
        return (sys.executable, "-m", "editing.cluster", *given)


class ExecutorSettings(Section):
    """Where builds run."""

    kind: Literal["local", "ray"] = Field(
        "local",
        description="`local` runs a build in one process of this machine, `ray` on a Ray cluster (extra `ray`)",
    )
    ray: RaySettings = Field(RaySettings(), description="the Ray cluster, see `[executor.ray]`")
    command: tuple[str, ...] = Field(
        (),
        description="program and arguments that start a worker, such as `nice python -m editing.worker`; "
        "unset: this Python's `editing.worker`, or `editing.cluster` where `kind` is `ray`",
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
    witness_keys: tuple[WitnessKeyText, ...] = Field(
        (),
        description="public keys of the witnesses with an address; unset: whatever such a server answers is kept, and "
        "its cosignature is not checked",
    )
    keep: int = Field(5, ge=1, description="number of retired checkpoints kept for rollback")
    keep_as_of: int = Field(
        4,
        ge=1,
        description="number of checkpoints kept of those that `kbsync build --as-of` wrote into the home",
    )
    verify_before_promotion: bool = Field(
        True, description="verify the log, its anchors and every row before each promotion"
    )


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError(
            "write an http or https URL without a password, such as http://127.0.0.1:4318/v1/traces"
        )
    return url


class TracingSettings(Section):
    """OpenTelemetry traces, see [metrics.md](metrics.md#traces)."""

    endpoint: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None, description="OTLP/HTTP URL that spans are sent to; unset: no traces"
    )


class SigningSettings(Section):
    """Signatures of versions (docs/signing.md); versions are signed as soon as there is a key for it."""

    required: bool = Field(
        False,
        description="no version goes live, and no server is notified of one, without a valid signature",
    )


class RetentionSettings(Section):
    """How long is kept what nothing needs any more (docs/operating.md); unset: for ever."""

    observations: PositiveDuration | None = Field(
        None,
        description="what a source stated before what it states now, unless admission or a fact needs it",
    )
    events: PositiveDuration | None = Field(
        None,
        description="payloads of events about sources, facts, attempts, requests and deployments; the log still "
        "verifies",
    )
    archive: PositiveDuration | None = Field(
        None,
        description="events in the ledger; older ones are moved into compressed files in `<home>/archive`, but for "
        "those about what is in use; needs a signing key",
    )
    archived: PositiveDuration | None = Field(
        None,
        description="those files, by the time of their events; the log verifies from the newest of them on",
    )
    reports: PositiveDuration | None = Field(
        None,
        description="directories of finished runs: spec, report, residuals that only such a report names",
    )
    checkpoints: PositiveDuration | None = Field(
        None, description="retired checkpoints within `[state] keep`, by their promotion"
    )
    logs: PositiveDuration | None = Field(
        None,
        description="the workers' log, which begins a new file as often as the policy is applied to it",
    )
    probes: PositiveDuration | None = Field(
        None, description="probes of facts that are not wanted any more, and that nothing kept was built with"
    )
    bases: PositiveDuration | None = Field(
        None, description="imported bases that are not the configured one, by the last run that used them"
    )
    cache: PositiveDuration | None = Field(
        None, description="statistics, networks and residuals that no build has used for so long"
    )
    dropped: PositiveDuration | None = Field(
        None,
        description="files in `done/` and `rejected/` of drop folders, by the time they were moved there",
    )
    rewrite: PositiveDuration | None = Field(
        None,
        description="not a period of keeping: how often the ledger's file is rewritten (`VACUUM`) after something was "
        "deleted from it",
    )

    def periods(self) -> dict[str, timedelta]:
        """The kinds that are not kept for ever, with their periods."""
        names = (name for name in type(self).model_fields if name != "rewrite")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def described_periods(settings: RetentionSettings) -> str:
    """The policy in one line."""
    periods = (f"{name} {period}" for name, period in settings.periods().items())
    return ", ".join(one.removesuffix(", 0:00:00") for one in periods) or "everything is kept"


class LogSettings(Section):
    """The daemon's log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum level to log")
    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")
