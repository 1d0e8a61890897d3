"""Everything an operator can set: `kbsync.toml`, overridden by `KBSYNC_<SECTION>__<KEY>` variables.

Unknown keys are errors, in the file and in the environment.  `docs/settings.md` is generated from these
classes, and a test keeps it up to date.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from connectors.durations import Duration
from editing.settings import EditSettings
from editing.storage.adapter import MAX_RANK, is_available
from editing.storage.forms import forms as known_forms
from kbsync.admission.policy import Policy
from kbsync.gates import Gate
from kbsync.home import Home
from kbsync.settings.calibration import CalibrationSettings
from kbsync.settings.deploy import AnyHookSettings
from kbsync.settings.editing import EditOverrides, ModelSettings
from kbsync.settings.editor_choice import resolved
from kbsync.settings.environment import Environment
from kbsync.settings.gates import GateCommandSettings, GateSettings, gates_in_force
from kbsync.settings.judge import JudgeSettings
from kbsync.settings.listening import HealthSettings, PagesSettings
from kbsync.settings.operation import (
    ExecutorSettings,
    FreshnessSettings,
    LogSettings,
    RetentionSettings,
    ScheduleSettings,
    SigningSettings,
    StateSettings,
    TracingSettings,
)
from kbsync.settings.refusals import RefusalSettings
from kbsync.settings.section import Section
from kbsync.settings.timing import parse_timing
from kbsync.settings.webhooks import NotificationName, NotificationSettings
from kbsync.settings.witnessed import WitnessedSettings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


class PlanSettings(Section):
    """When pending changes start a run, and how many facts a view may hold."""

    min_pending: int = Field(10, ge=1, description="number of pending changes that starts a run at once")
    max_wait: Duration = Field(timedelta(hours=24), description="maximum time a pending change waits")
    capacity: int = Field(
        1_000, ge=1, description="maximum number of edited facts per checkpoint; those of lower priority wait"
    )
    rounds: int = Field(4, ge=1, description="builds of one run: the first, and retries without bad facts")
    variants: int = Field(
        0, ge=0, description="further templates a fact is edited with; they do not judge it"
    )
    aliases: int = Field(
        0, ge=0, description="aliases of the subject it is edited with; they do not judge it"
    )
    neighbours: int = Field(5, ge=0, description="neighbourhood probes per edited fact")
    same_subject: int = Field(5, ge=0, description="probes of the subject's other relations per edited fact")
    paraphrases: int = Field(6, ge=0, description="paraphrase probes per edited fact")
    generate: int = Field(64, ge=0, description="number of new facts that are asked to be answered freely")
    system_prompt: str = Field(
        "You are a helpful assistant.",
        description="system message of one of the conversations in which a new fact is asked for, for a base whose "
        "chat template takes one; empty: all conversations are without",
    )
    exam_every: int = Field(
        20,
        ge=0,
        description="number of runs in which every edited fact in live is examined again once; 0: never",
    )
    retention_sample: int = Field(5_000, ge=1, description="facts in live above which retention is sampled")
    consequences: Literal["report", "edit", "off"] = Field(
        "report",
        description="what follows from new facts (two-hop questions, the other way round, symmetric relations): asked "
        "and reported, also edited where the model does not infer it, or neither",
    )
    consequence_questions: int = Field(
        2, ge=1, description="maximum number of consequences of each kind per fact"
    )


CHECKPOINT = "checkpoint"
"""The form that is always written: a complete Hugging Face directory."""
ADAPTER = "adapter"


class DeliverSettings(Section):
    """The forms in which a candidate is written; each further form is a folder in the checkpoint's directory."""

    forms: tuple[str, ...] = Field(
        (CHECKPOINT,),
        alias="as",
        description='"checkpoint" is always written; "delta" adds the changed tensors only, "adapter" a LoRA adapter '
        "(extra `adapter`)",
    )
    max_rank: int = Field(
        MAX_RANK,
        ge=1,
        description="largest rank of an adapter; updates that need more are the best ones of that rank in the metric "
        "of the solve",
    )

    retrieval_pack: bool = Field(
        True,
        description="whether a candidate comes with the wanted facts that its weights do not state, as text for a "
        "retriever",
    )

    @field_validator("forms", mode="before")
    @classmethod
    def _may_be_one(cls, value: object) -> object:
        """A form on its own stands for a list of it."""
        return (value,) if isinstance(value, str) else value

    @property
    def further(self) -> tuple[str, ...]:
        """The forms besides the checkpoint itself."""
        return tuple(form for form in dict.fromkeys(self.forms) if form != CHECKPOINT)

    @property
    def options(self) -> dict[str, dict[str, int]]:
        """What these settings say of a form, by its name."""
        return {ADAPTER: {"max_rank": self.max_rank}} if ADAPTER in self.forms else {}

    @field_validator("forms")
    @classmethod
    def _exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - {CHECKPOINT, *known_forms()}):
            raise ValueError(
                f"no form is named {unknown[0]!r}; available: checkpoint, {', '.join(known_forms())}"
            )
        if ADAPTER in value and not is_available():
            raise ValueError("an adapter needs the package peft: `pip install 'kbsync[adapter]'`")
        return value


class ReviewSettings(Section):
    """Whether a person approves a candidate before it goes live."""

    required: bool = Field(
        False,
        description="every candidate waits for approval, except one that only removes facts that a person withdrew, "
        "or that were withdrawn while another candidate waited",
    )
    relations: tuple[str, ...] = Field(
        (), description="candidates that change facts of these relations wait for approval"
    )
    timeout: Duration = Field(timedelta(days=7), description="how long a candidate waits for approval")
    on_timeout: Literal["reject", "approve"] = Field("reject", description="what happens after that time")
    approvals: int = Field(
        1,
        ge=1,
        le=10,
        description="number of different people who have to approve a candidate that waits, a value in quarantine, or "
        "a rollback",
    )

    @model_validator(mode="after")
    def _nobody_is_no_second_person(self) -> ReviewSettings:
        if self.approvals > 1 and self.on_timeout == "approve":
            raise ValueError(
                'on_timeout = "approve" would do without the approvals that `approvals` asks for'
            )
        return self


class Settings(BaseSettings):
    """All settings, as one frozen value; created by `kbsync.settings.loading.load`."""

    model_config = SettingsConfigDict(
        env_prefix="KBSYNC_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    model: ModelSettings = ModelSettings()
    edit: EditOverrides = EditOverrides()
    calibration: CalibrationSettings = CalibrationSettings()
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    relations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    policy: Policy = Policy()
    plan: PlanSettings = PlanSettings()
    gates: dict[str, GateSettings] = Field(default_factory=dict)
    gate_commands: dict[str, GateCommandSettings] = Field(default_factory=dict)
    canaries: Path | None = Field(
        None, description="JSONL file of {prompt, target} that every candidate must answer"
    )
    refusals: RefusalSettings = RefusalSettings()
    judge: JudgeSettings | None = Field(None, description="a model that judges undecided free answers")
    deliver: DeliverSettings = DeliverSettings()
    review: ReviewSettings = ReviewSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    executor: ExecutorSettings = ExecutorSettings()
    state: StateSettings = StateSettings()
    signing: SigningSettings = SigningSettings()
    retention: RetentionSettings = RetentionSettings()
    deploy: dict[str, AnyHookSettings] = Field(default_factory=dict)
    webhooks: dict[NotificationName, NotificationSettings] = Field(default_factory=dict)
    witnessed: dict[NotificationName, WitnessedSettings] = Field(default_factory=dict)
    health: HealthSettings = HealthSettings()
    pages: PagesSettings = PagesSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    _directory: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def directory(self) -> Path:
        """The directory that relative paths in the settings are relative to."""
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

    @field_validator("sources")
    @classmethod
    def _have_times(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, source in value.items():
            if "schedule" in source:
                try:
                    parse_timing(source["schedule"])
                except ValueError as error:
                    raise ValueError(f"{name}.schedule: {error}") from error
        return value

    def own_timings(self) -> dict[str, timedelta | str]:
        """The sources that are read at times of their own, and these times."""
        return {
            name: parse_timing(source["schedule"])
            for name, source in self.sources.items()
            if "schedule" in source
        }

    def gate_list(self) -> tuple[Gate, ...]:
        """The default gates with this file's overrides, then those of its gate commands."""
        return gates_in_force(self.gates, self.gate_commands)

    def edit_settings(self, defaults: EditSettings, base: str | None = None) -> EditSettings:
        """`defaults` (the base's) with this file's overrides, and with the best editor in place of `auto`.

        Raises BadConfiguration if no measurement of the base with the digest `base` says which that is.
        """
        return resolved(self.edit.over(defaults), self.calibration.editors, base)

    def database_url(self, home: Home) -> str | URL:
        """The ledger's database: the configured URL, or SQLite in the home."""
        from state.database import sqlite_url

        return self.state.url or sqlite_url(home.database)
