"""Options of the commands that work on a model by itself: which model, and how it is edited."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import globals_of
from kbsync.console import say

if TYPE_CHECKING:
    from editing.datasets import Record
    from kbsync.standalone.target import Chosen


@dataclass(frozen=True)
class WhichModel:
    """A model, and where it runs."""

    model: Annotated[
        Path | None, typer.Option(help="Local Hugging Face directory; default: the configured base.")
    ] = None
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:N or auto; spread over GPUs: balanced or cuda:N,cuda:M."),
    ] = None


@dataclass(frozen=True)
class ModelOptions(WhichModel):
    """Also a file of settings for it."""

    settings: Annotated[
        Path | None, typer.Option("--settings", help="TOML or JSON file with keys of the edit section.")
    ] = None

    def chosen(self, context: typer.Context) -> Chosen:
        """What the options name or, where they are not given, the home's settings."""
        return self._choose(context)

    def _choose(
        self, context: typer.Context, corpus: list[Path] | None = None, layers: str | None = None
    ) -> Chosen:
        from kbsync.standalone.target import choose

        known = globals_of(context)
        return choose(
            known.home(),
            known.settings(required=False),
            model=self.model,
            file=self.settings,
            device=self.device,
            corpus=corpus or (),
            layers=layers,
        )


@dataclass(frozen=True)
class StatisticsOptions(ModelOptions):
    """Also the text for the keys' statistics, and the layers that have them."""

    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            help="Ordinary text for the statistics: text, JSONL, Parquet or a saved dataset; may be repeated. "
            "Default: that of the settings."
        ),
    ] = None
    layers: Annotated[str | None, typer.Option(help="Layers R, such as 3-8 or 3,4,5.")] = None

    def chosen(self, context: typer.Context) -> Chosen:
        return self._choose(context, self.corpus, self.layers)


@dataclass(frozen=True)
class EditOptions(StatisticsOptions):
    """Also the hyper-parameters of another editor."""

    hparams: Annotated[
        Path | None,
        typer.Option(
            "--hparams",
            help="Hyper-parameters of another editor as a start: hparams/*.json of MEMIT, or EasyEdit's YAML.",
        ),
    ] = None

    def chosen(self, context: typer.Context) -> Chosen:
        """The other editor's hyper-parameters are below all that was set here."""
        chosen = self._choose(context, self.corpus, self.layers)
        if self.hparams is None:
            return chosen
        from editing.hparams import read_hparams
        from kbsync.standalone.target import with_hparams

        found = read_hparams(self.hparams)
        used = ", ".join(f"{key} = {value}" for key, value in found.settings.items())
        say(f"{self.hparams}: {used}")
        for key, reason in found.ignored.items():
            say(f"{self.hparams}: {key} is not used: {reason}")
        return with_hparams(chosen, found)


@dataclass(frozen=True, slots=True)
class FactsFile:
    """A file of facts, in any of the formats that are recognised."""

    facts: Annotated[
        Path,
        typer.Argument(
            help="JSON lines with subject, prompt and target; or a CounterFact, zsRE or MQuAKE file."
        ),
    ]
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only this many facts, the first ones of the file.")
    ] = None

    def records(self) -> list[Record]:
        """Raises DataError for a file that cannot be read."""
        from editing.datasets import read_records

        return read_records(self.facts, self.limit)
