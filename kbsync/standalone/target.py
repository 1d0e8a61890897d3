"""The model, settings and text of a one-shot command: from its options, or those of the configured base."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from editing.hparams import Hparams
from editing.settings import EditSettings
from kbsync.errors import BadConfiguration, NoInput, UsageError
from kbsync.home import Home
from kbsync.settings.base_model import (
    BESIDE,
    Base,
    calibrated_elsewhere,
    edit_settings_of,
    import_base,
    named_device,
    read_overrides,
)
from kbsync.settings.calibration import (
    IN_FORCE,
    CalibrationSettings,
    doubt,
    is_by_hand,
)
from kbsync.settings.editing import EditOverrides
from kbsync.settings.loading import read_toml
from kbsync.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model directory and everything that decides how it is edited."""

    home: Home
    path: Path
    overrides: EditOverrides
    settings: EditSettings
    """The model's own settings (`kbsync-edit.json`, or the defaults) with `overrides` applied."""
    corpus: tuple[Path, ...]
    borrows: bool
    """Whether `corpus` is that of the configured base although another model is edited."""
    device: str | None
    threads: int | None
    calibration: CalibrationSettings
    """Where the settings come from; empty if nothing was calibrated."""
    measured: bool
    """Whether the settings were given for this model: by a file, or by `kbsync-edit.json` beside it."""
    calibrate: str = IN_FORCE
    """The command that calibrates the model."""

    def doubt(self, base: str) -> str:
        """Why the settings may not fit the imported base of this digest; empty if they were measured for it."""
        return doubt(
            self.calibration,
            base,
            measured=self.measured,
            by_hand=is_by_hand(self.overrides),
            elsewhere=calibrated_elsewhere(self.home.calibration, base),
            command=self.calibrate,
        )

    def imported(self) -> Base:
        """Import the model as a base of the home, split into frozen and editable shards."""
        return import_base(self.path, self.home, self.overrides)

    @property
    def text_shown(self) -> str:
        """What the statistics are computed from, for people."""
        if not self.corpus:
            return "text that the model generates; --corpus names ordinary text, which fits better"
        shown = ", ".join(map(str, self.corpus))
        if not self.borrows:
            return shown
        return (
            f"{shown} (`corpus` in [model] of {self.home.config}; --corpus names other text for this model)"
        )

    def text(self) -> tuple[Path, ...]:
        """The text that the statistics are computed from; if there is none, the model generates it.

        Raises BadConfiguration for a corpus that does not exist.
        """
        for path in self.corpus:
            if not path.exists():
                raise BadConfiguration(
                    f"there is no corpus {path}",
                    "name text, JSONL or Parquet files, or a Hugging Face dataset saved to disk, with --corpus or as "
                    f"`corpus` in the [model] section of {self.home.config}",
                )
        return self.corpus


def choose(
    home: Home,
    settings: Settings,
    *,
    model: Path | None = None,
    file: Path | None = None,
    layers: str | None = None,
    corpus: Sequence[Path] = (),
    device: str | None = None,
) -> Chosen:
    """The choice given by a command's options or, where they are not given, by the home's settings.

    Hyper-parameters, each overriding those before: the defaults, `kbsync-edit.json` beside the model, [edit]
    of the settings file if the model is the configured base, `file`, `layers`.
    Raises NoInput if `file` does not exist, UsageError if no model is named, and
    BadConfiguration for anything that cannot be used.
    """
    if file is not None and not file.exists():
        raise NoInput(f"there is no file {file}", "correct the path on the command line")
    base = settings.model.path
    path = model or base
    if path is None:
        raise UsageError(
            "no model is named", "give its directory with --model, or set [model] path in kbsync.toml"
        )
    configured = base is not None and path.resolve() == base.resolve()
    overrides = settings.edit if configured else EditOverrides()
    if file is not None:
        overrides = _over(overrides, read_overrides(file))
    if layers is not None:
        overrides = _over(overrides, EditOverrides(layers=parse_layers(layers)))
    if not path.is_dir():
        raise BadConfiguration(
            f"there is no model directory {path}", "give the directory of a local Hugging Face model"
        )
    home = replace(home, shared=settings.model.shared)
    return Chosen(
        home=home,
        path=path,
        overrides=overrides,
        settings=overrides.over(edit_settings_of(path)),
        corpus=tuple(corpus) or settings.model.corpus,
        borrows=not corpus and not configured and bool(settings.model.corpus),
        device=named_device(device or settings.model.device),
        threads=settings.executor.threads,
        calibration=_calibration(file) or (settings.calibration if configured else CalibrationSettings()),
        measured=file is not None or (path / BESIDE).is_file(),
        calibrate=IN_FORCE if configured else f"kbsync calibrate --model {shlex.quote(str(path))}",
    )


def _calibration(file: Path | None) -> CalibrationSettings | None:
    """[calibration] of a settings file; None if it has none."""
    if file is None or file.suffix == ".json" or "calibration" not in (values := read_toml(file)):
        return None
    try:
        return CalibrationSettings(**values["calibration"])
    except (TypeError, ValidationError) as error:
        raise BadConfiguration(
            f"{file}: [calibration] is not what `kbsync calibrate` writes: {error}",
            "calibrate again, or remove it",
        ) from error


def with_samples(chosen: Chosen, samples: int | None) -> Chosen:
    """The same choice with another number of statistics samples; None keeps it."""
    if samples is None:
        return chosen
    return replace(chosen, settings=replace(chosen.settings, statistics_samples=samples))


def with_hparams(chosen: Chosen, found: Hparams) -> Chosen:
    """The same choice on top of another editor's hyper-parameters, which kbsync's own settings override."""
    start = EditOverrides(**found.settings)
    settings = chosen.overrides.over(start.over(edit_settings_of(chosen.path)))
    return replace(chosen, overrides=_over(start, chosen.overrides), settings=settings, measured=True)


def parse_layers(text: str) -> tuple[int, ...]:
    """Parse `3-8` or `3,4,5`; raises UsageError."""
    try:
        numbers: list[int] = []
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError as error:
        raise UsageError(f"--layers {text!r} names no layers", "write 3-8, or 3,4,5") from error
    if not numbers:
        raise UsageError(f"--layers {text!r} names no layers", "write 3-8, or 3,4,5")
    return tuple(numbers)


def _over(under: EditOverrides, over: EditOverrides) -> EditOverrides:
    return under.model_copy(update=over.model_dump(exclude_none=True))
