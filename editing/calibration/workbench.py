"""A loaded base, and what every trial edit of it shares: the cache, the statistics' text, the held-out text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from editing.durable import sha256_of
from editing.evaluation.metrics import PERPLEXITY_TOKENS, perplexity, text_windows
from editing.memit.own_samples import OwnSamples
from editing.memit.statistics import Statistics
from editing.progress import Progress, silent
from editing.settings import EditSettings
from editing.storage.loaded import LoadedBase

HELD_OUT = 12
"""Own samples, of another seed than the statistics', that perplexity is measured on if there is no held-out text."""


@dataclass(frozen=True)
class Workbench:
    """Trials edit the base in memory and restore it."""

    base: LoadedBase
    cache: Path
    corpus: tuple[Path, ...]
    heldout: Path | None
    progress: Progress = silent

    def statistics_content(self, settings: EditSettings) -> str:
        """Digest of the statistics' text."""
        model, tokenizer = self.base.model, self.base.tokenizer
        statistics = Statistics(
            model,
            tokenizer,
            settings,
            corpus=self.corpus,
            base_digest=self.base.digest,
            cache=self.cache,
        )
        return statistics.content

    @cached_property
    def heldout_name(self) -> str:
        """What perplexity is measured on, as part of the keys of results."""
        if self.heldout is None:
            return f"own samples, {HELD_OUT}"
        try:
            return sha256_of(self.heldout)
        except OSError:  # `windows` says what is wrong with it
            return str(self.heldout)

    def draw_text(self, settings: EditSettings) -> None:
        """Draw the text that every trial needs, so that the first trial takes no longer than its like."""
        if not self.corpus:
            self._samples(settings).read(self.progress)
        _ = self._perplexity

    def perplexity_ratio(self) -> float:
        """Perplexity of the held-out text with the model's current weights, over the base's.

        `draw_text` must have been called while the weights were the base's.
        """
        return perplexity(self.base.model, self.windows) / self._perplexity

    def _samples(self, settings: EditSettings) -> OwnSamples:
        model, tokenizer = self.base.model, self.base.tokenizer
        return OwnSamples(model, tokenizer, settings, base_digest=self.base.digest, cache=self.cache)

    @cached_property
    def windows(self) -> list[Tensor]:
        """The held-out text: the operator's, or further samples of the model."""
        model, tokenizer = self.base.model, self.base.tokenizer
        if self.heldout is not None:
            return text_windows(model, tokenizer, self.heldout)[:HELD_OUT]
        samples = self._samples(replace(EditSettings(), seed=1, statistics_samples=HELD_OUT)).read(
            self.progress
        )
        rows = [tokenizer(text, return_tensors="pt")["input_ids"][:, :PERPLEXITY_TOKENS] for text in samples]
        return [row for row in rows if row.shape[1] > 1]

    @cached_property
    def _perplexity(self) -> float:
        """The base's."""
        return perplexity(self.base.model, self.windows)
