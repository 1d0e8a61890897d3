"""Everything an operator can set: `kbsync.toml`, overridden by `KBSYNC_<SECTION>__<KEY>` variables.

Unknown keys are errors, in the file and in the environment.  `docs/settings.md` is generated from these
classes and held to them by a test.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from connectors.durations import Duration, PositiveDuration
from connectors.guesses import did_you_mean
from editing.settings import EditSettings
from editing.storage.forms import forms as known_forms
from kbsync.admission.policy import Policy
from kbsync.errors import BadConfiguration
from kbsync.gates import DEFAULT_GATES, Gate
from kbsync.home import Home
from kbsync.settings.deploy import AnyHookSettings
from kbsync.settings.environment import Environment

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def split_address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8787` or `[::1]:8787` as host and port; raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"{listen!r} is no address: write host:port, such as 127.0.0.1:8787 or [::1]:8787")
    return host, int(port)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(Section):
    """The base model and the text it is measured on."""

    path: Path | None = Field(None, description="local Hugging Face directory of the base model")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$", description="auto, cpu, cuda or cuda:N"
    )
    corpus: tuple[Path, ...] = Field((), description="text for the statistics; unset: what the model writes")
    heldout: Path | None = Field(None, description="text perplexity is measured on; not part of the corpus")


class EditOverrides(Section):
    """Hyper-parameters of MEMIT. What is not set is as `kbsync-edit.json` beside the model says, or the default."""

    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(None, description="layers R, ascending")
    optimiser: Literal["adam", "lbfgs"] | None = Field(
        None,
        description="how a residual is optimised: `adam` as in the paper, `lbfgs` in a third of the steps",
    )
    steps: int | None = Field(None, ge=2, description="optimisation steps of a residual")
    lr: float | None = Field(None, gt=0, description="Adam's learning rate")
    clamp: float | None = Field(None, gt=0, description="largest ‖δ‖, as a share of the hidden state's norm")
    kl: float | None = Field(None, ge=0, description="weight of the KL term")
    weight_decay: float | None = Field(None, ge=0, description="weight of the residual's norm in its loss")
    stop_loss: float | None = Field(None, description="an edit whose loss falls below this stops")
    lam: Annotated[float, Field(gt=0)] | Literal["auto"] | None = Field(
        None,
        description="lambda of Eqn. 15, the weight of what is stored; `auto`, the default: from leverage",
    )
    ridge: float | None = Field(
        None, ge=0, description="added to the keys' second moments, as a share of their mean"
    )
    keys: Literal["average", "all"] | None = Field(None, description="one key an edit, or one a prefix")
    prefixes: int | None = Field(None, ge=0, description="random contexts each edit is optimised in")
    prefix_tokens: int | None = Field(None, ge=1, description="length of such a context")
    statistics_samples: int | None = Field(None, ge=1, description="text samples the statistics use")
    statistics_tokens: int | None = Field(None, ge=1, description="longest sample, in tokens")
    statistics_field: str | None = Field(
        None, description="field of JSONL, Parquet and Arrow corpora that holds the text"
    )
    seed: int | None = Field(None, description="seed of the contexts and of every sampling")
    chat: bool | None = Field(
        None, description="edit each fact's question too, put through the chat template"
    )
    editor: str | None = Field(None, description="what turns a view into weights; only `memit` is built in")
    options: dict[str, float] | None = Field(None, description="hyper-parameters of other editors, by name")
    architecture_blocks: str | None = Field(
        None,
        description="path of the list of transformer blocks, for a model that the table of architectures lacks",
    )
    architecture_writer: str | None = Field(
        None, description="path of the MLP's output projection within a block, with architecture_blocks"
    )
    architecture_norm: str | None = Field(
        None, description="path, within a block, of a norm that follows that projection, if there is one"
    )

    def over(self, defaults: EditSettings) -> EditSettings:
        """`defaults` with what is set here."""
        return replace(defaults, **self.model_dump(exclude_none=True))


class PlanSettings(Section):
    """When pending changes become a run, and how much one view may hold."""

    min_pending: int = Field(10, ge=1, description="changes that start a run at once")
    max_wait: Duration = Field(timedelta(hours=24), description="the oldest change waits no longer than this")
    capacity: int = Field(
        1_000, ge=1, description="maximum number of edited facts per checkpoint; the rest waits, by priority"
    )
    rounds: int = Field(4, ge=1, description="builds of one run: the first and the retries without bad facts")
    variants: int = Field(
        0, ge=0, description="further templates of the relation a fact is edited with; none of them judges it"
    )
    aliases: int = Field(
        0, ge=0, description="other names of its subject a fact is edited with; none of them judges it"
    )
    neighbours: int = Field(5, ge=0, description="neighbourhood probes an edited fact")
    same_subject: int = Field(5, ge=0, description="probes of the subject's other relations an edited fact")
    paraphrases: int = Field(6, ge=0, description="paraphrase probes an edited fact")
    generate: int = Field(64, ge=0, description="edited facts that are asked by free generation")
    retention_sample: int = Field(
        5_000, ge=1, description="above so many facts in live, retention is sampled"
    )


class GateSettings(Section):
    """Overrides of one gate; see `kbsync gates` for the defaults."""

    threshold: float | None = Field(None, description="what the value, or its bound, is compared with")
    margin: float | None = Field(None, description="how much worse than live is still allowed")
    confidence: float | None = Field(None, gt=0.5, lt=1, description="of the bound of a sampled measure")
    enabled: bool | None = Field(None, description="whether the gate counts at all")
    required: bool | None = Field(
        None, description="whether it fails where no case applies, instead of not being judged"
    )


CHECKPOINT = "checkpoint"
"""The form that is always written: a complete Hugging Face directory."""


class DeliverSettings(Section):
    """In which forms a candidate is written; every form lies in a folder of the checkpoint's directory."""

    forms: tuple[str, ...] = Field(
        (CHECKPOINT,),
        alias="as",
        description='"checkpoint" is always written; "delta" adds the changed tensors alone',
    )

    @property
    def further(self) -> tuple[str, ...]:
        """The forms beside the checkpoint itself."""
        return tuple(form for form in self.forms if form != CHECKPOINT)

    @field_validator("forms")
    @classmethod
    def _exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - {CHECKPOINT, *known_forms()}):
            raise ValueError(
                f"no form is named {unknown[0]!r}; there are: checkpoint, {', '.join(known_forms())}"
            )
        return value


class ReviewSettings(Section):
    """Whether a person approves a candidate before it goes live."""

    required: bool = Field(
        False,
        description="every candidate waits for approval, except one that only takes out what a person withdrew, "
        "or what was withdrawn while another waited",
    )
    relations: tuple[str, ...] = Field(
        (), description="candidates that change one of these wait for approval"
    )
    timeout: Duration = Field(timedelta(days=7), description="how long one waits")
    on_timeout: Literal["reject", "approve"] = Field("reject", description="what happens then")


class ScheduleSettings(Section):
    """How often the daemon does what."""

    sync: PositiveDuration = Field(timedelta(minutes=15), description="between two cycles")
    reconcile: PositiveDuration = Field(
        timedelta(hours=24), description="between two full re-reads of watched slots"
    )
    source_deadline: PositiveDuration = Field(
        timedelta(minutes=10),
        description="longest time that one source is read before the next one's turn; what is left is read next time",
    )
    audit: PositiveDuration = Field(timedelta(hours=1), description="between two random re-reads")
    audit_slots: int = Field(100, ge=0, description="slots of a random re-read")
    verify: PositiveDuration = Field(
        timedelta(hours=24), description="between two proofs of the log, its anchors and every row"
    )
    scrub: PositiveDuration = Field(
        timedelta(hours=24), description="between two proofs of every byte of live and of the base"
    )
    anchor: PositiveDuration = Field(
        timedelta(hours=1), description="between two exports of the audit log's head"
    )
    deploy: PositiveDuration = Field(
        timedelta(minutes=1), description="between two looks at the servers of `[deploy.NAME]`"
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
        description="further variables of the daemon's environment that the worker sees; without it only the "
        "basic ones and those of Python, CUDA, torch and transformers",
    )
    heartbeat_timeout: PositiveDuration = Field(
        timedelta(minutes=2), description="a worker silent for longer is hung"
    )
    attempts: int = Field(3, ge=1, description="tries of one build before the run fails")
    stop_timeout: Duration = Field(timedelta(seconds=20), description="from SIGTERM to SIGKILL")
    threads: int | None = Field(None, ge=1, description="CPU threads of the worker; unset: all cores")


class StateSettings(Section):
    """Where the ledger lies."""

    url: str | None = Field(None, description="SQLAlchemy URL; unset: SQLite in the home")
    anchor: Path | None = Field(
        None, description="file outside the home that the audit log's head is copied to"
    )
    keep: int = Field(5, ge=1, description="retired checkpoints kept for rollback")
    verify_before_promotion: bool = Field(
        True, description="prove the log, its anchors and every row before anything goes live"
    )


class HealthSettings(Section):
    """`/livez`, `/readyz` and `/metrics` of the daemon, see [deploying.md](deploying.md)."""

    listen: str | None = Field(None, description="host:port to serve them on; unset: not at all")
    stale: PositiveDuration = Field(
        timedelta(minutes=10), description="a loop without a sign of life for longer is dead to `/livez`"
    )

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value


class LogSettings(Section):
    """The daemon's log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON")


class Settings(BaseSettings):
    """One frozen value; `kbsync.settings.loading.load` makes it."""

    model_config = SettingsConfigDict(
        env_prefix="KBSYNC_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    model: ModelSettings = ModelSettings()
    edit: EditOverrides = EditOverrides()
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    relations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    policy: Policy = Policy()
    plan: PlanSettings = PlanSettings()
    gates: dict[str, GateSettings] = Field(default_factory=dict)
    canaries: Path | None = Field(
        None, description="JSONL file of {prompt, target} every candidate must answer"
    )
    deliver: DeliverSettings = DeliverSettings()
    review: ReviewSettings = ReviewSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    executor: ExecutorSettings = ExecutorSettings()
    state: StateSettings = StateSettings()
    deploy: dict[str, AnyHookSettings] = Field(default_factory=dict)
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()

    _directory: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def directory(self) -> Path:
        """Where relative paths of the settings start."""
        return self._directory

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file arrives through the initialiser (`load` read and checked it); the environment wins.
        return Environment(settings_cls), init_settings

    def gate_list(self) -> tuple[Gate, ...]:
        """The default gates with this file's overrides."""
        known = sorted(gate.name for gate in DEFAULT_GATES)
        for name in sorted(set(self.gates) - set(known)):
            advice = f"{did_you_mean(name, known)}gates are: {', '.join(known)}"
            raise BadConfiguration(f"[gates.{name}] is no gate", advice)
        return tuple(_override(gate, self.gates.get(gate.name)) for gate in DEFAULT_GATES)

    def edit_settings(self, defaults: EditSettings) -> EditSettings:
        """`defaults` (the base's) with this file's overrides."""
        return self.edit.over(defaults)

    def database_url(self, home: Home) -> str | URL:
        """Where the ledger lies: the configured URL, or SQLite in the home."""
        from state.database import sqlite_url

        return self.state.url or sqlite_url(home.database)


def _override(gate: Gate, overrides: GateSettings | None) -> Gate:
    return replace(gate, **overrides.model_dump(exclude_none=True)) if overrides else gate
