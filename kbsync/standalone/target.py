"""Which model a one-shot command works on, with which settings and text: typed, or the configured base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from editing.hparams import Hparams
from editing.settings import EditSettings
from kbsync.errors import BadConfiguration, UsageError
from kbsync.home import Home
from kbsync.settings.base_model import Base, edit_settings_of, import_base, read_overrides
from kbsync.settings.sections import EditOverrides, Settings


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model directory and all that decides how it is edited."""

    home: Home
    path: Path
    overrides: EditOverrides
    settings: EditSettings
    """The model's own (`kbsync-edit.json`, or the defaults) with `overrides`."""
    corpus: tuple[Path, ...]
    device: str | None
    threads: int | None

    def imported(self) -> Base:
        """The model as a base of the home: frozen and editable shards."""
        return import_base(self.path, self.home, self.overrides)

    def text(self) -> tuple[Path, ...]:
        """The text the statistics are computed from; without any, the model's own samples are taken.

        Raises BadConfiguration for a corpus that does not exist.
        """
        for path in self.corpus:
            if not path.exists():
                raise BadConfiguration(
                    f"there is no corpus {path}",
                    "name text, JSONL or Parquet files, or a Hugging Face dataset saved to disk",
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
    """What was typed, or else what the settings of the home say.

    Hyper-parameters: the defaults; over them `kbsync-edit.json` beside the model; over that [edit] of the
    settings file where the model is the configured base; over that `file`; over that `layers`.
    """
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
    named = device or settings.model.device
    return Chosen(
        home=home,
        path=path,
        overrides=overrides,
        settings=overrides.over(edit_settings_of(path)),
        corpus=tuple(corpus) or settings.model.corpus,
        device=None if named == "auto" else named,
        threads=settings.executor.threads,
    )


def with_samples(chosen: Chosen, samples: int | None) -> Chosen:
    """The same with another size of the statistics' sample."""
    if samples is None:
        return chosen
    return replace(chosen, settings=replace(chosen.settings, statistics_samples=samples))


def with_hparams(chosen: Chosen, found: Hparams) -> Chosen:
    """The same, starting from another editor's hyper-parameters: whatever was set for kbsync goes over them."""
    start = EditOverrides(**found.settings)
    settings = chosen.overrides.over(start.over(edit_settings_of(chosen.path)))
    return replace(chosen, overrides=_over(start, chosen.overrides), settings=settings)


def parse_layers(text: str) -> tuple[int, ...]:
    """`3-8` or `3,4,5`; raises UsageError."""
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
