"""Second moments of the keys over text: C0 / λ of Eqn. 15, uncentred, cached under a content key.

Far fewer samples than the customary 100,000 suffice (FastMEMIT, arXiv 2506.04226).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from editing.durable import make_directory
from editing.memit import tensor_cache
from editing.memit.blocked import MatrixParts
from editing.memit.conversing import Conversing, with_conversations
from editing.memit.corpus import Drawn
from editing.memit.own_samples import OwnSamples
from editing.memit.solve import factorise
from editing.memit.sums import Sums, accumulate, by_length
from editing.mirror import mirror
from editing.model.architectures import Parts
from editing.model.devices import device_of
from editing.model.loading import context_length
from editing.model.memory import free_bytes
from editing.model.passes import Ids
from editing.model.tokens import tokenizer_digest
from editing.progress import Progress, silent
from editing.settings import EditSettings

WRITERS = 4
"""Layers whose moments are written at a time: hashing and writing a gigabyte takes seconds, and a GPU would wait."""
HELD = 32
"""Moments are held for further uses in a build where a batch may take this many times their size."""


@dataclass(frozen=True)
class Moments:
    """E[k kᵀ] of each layer, and its Cholesky factor, loaded one at a time."""

    load: Callable[[int], Tensor]
    """Layer → [d_k, d_k], in fp32 or better, on the model's device, where it is then factorised; not to be changed."""
    stored: Callable[[int, str], Path] | None = None
    """(layer, "factor" or "eigen") → where that decomposition of its moments is cached, if anywhere."""
    parts: Callable[[int], MatrixParts] | None = None
    """Layer → its moments, read part by part, where they are in a file."""

    def factor(self, layer: int, *, store: bool = True) -> tuple[Tensor, float]:
        """(lower factor of E[k kᵀ] in fp64, ridge): independent of λ, so one serves all builds.

        It is read from the cache if present; otherwise it is computed, and written there if `store` is set.
        """
        path = self.stored(layer, "factor") if self.stored else None
        if path is not None and (found := tensor_cache.load(path)) is not None:
            return found[0]["factor"], float(found[1]["ridge"])
        factor, ridge = factorise(self.load(layer).to(torch.float64, copy=True))
        factor = factor.contiguous()  # as it is read back: a solve's last bits depend on the layout
        if path is not None and store:
            tensor_cache.store(path, {"factor": factor}, {"ridge": repr(ridge)})
        return factor, ridge

    def eigen(self, layer: int) -> tuple[Tensor, Tensor]:
        """(eigenvalues [d_k], ascending, eigenvectors [d_k, d_k]) of E[k kᵀ] in fp64, cached like the factor."""
        path = self.stored(layer, "eigen") if self.stored else None
        if path is not None and (found := tensor_cache.load(path)) is not None:
            return found[0]["values"], found[0]["vectors"]
        values, vectors = torch.linalg.eigh(self.load(layer).double())
        vectors = vectors.contiguous()
        if path is not None:
            tensor_cache.store(path, {"values": values, "vectors": vectors}, {})
        return values, vectors


class Statistics:
    """The second moments of one model over one sample of text: where they are stored, and which are missing.

    Without a corpus, the text is sampled from the model itself (`OwnSamples`).  The texts are read when they are
    needed: if `Drawn` recognises the corpus' files, and all layers are cached, none is opened.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: EditSettings,
        *,
        corpus: Sequence[Path],
        base_digest: str,
        cache: Path,
    ) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.limit = min(settings.statistics_tokens, context_length(model, unstated=1 << 30))
        self._directory = cache / "stats"
        self._held: dict[int, Tensor] = {}
        self._drawn: Drawn | Conversing | OwnSamples
        if corpus:
            drawn = Drawn(
                corpus,
                settings.statistics_samples,
                settings.seed,
                field=settings.statistics_field,
                hints=self._directory,
            )
            self._drawn = with_conversations(drawn, tokenizer, settings.statistics_chat)
        else:
            self._drawn = OwnSamples(model, tokenizer, settings, base_digest=base_digest, cache=cache)
        identity = [base_digest, tokenizer_digest(tokenizer), str(self.limit), str(model.dtype)]
        self._identity = "\x00".join(identity)

    @cached_property
    def content(self) -> str:
        """Digest of everything the moments depend on; raises DataError for a corpus without text."""
        content = f"{self._identity}\x00{self._drawn.digest}"
        return hashlib.sha256(content.encode()).hexdigest()[:40]

    def path(self, layer: int) -> Path:
        """Path of the moments of `layer`, whether or not they exist yet."""
        return self._directory / f"{self.content}-{layer}.safetensors"

    def missing(self, layers: Sequence[int]) -> list[int]:
        """Those of `layers` whose moments have not been computed yet."""
        present = mirror().present([self.path(layer) for layer in layers])
        return [layer for layer in layers if self.path(layer) not in present]

    def estimated_tokens(self) -> int:
        """Approximate number of tokens of the sample, at four characters per token."""
        return self._drawn.estimated_tokens(self.limit)

    def counted(self, layer: int) -> dict[str, int]:
        """`samples` and `tokens` that the stored moments of `layer` were computed from."""
        mirror().fetch([self.path(layer)])
        with safe_open(self.path(layer), framework="pt") as file:
            metadata = file.metadata()
        return {name: int(metadata[name]) for name in ("samples", "tokens")}

    def compute(self, parts: Parts, layers: Sequence[int], progress: Progress = silent) -> Moments:
        """The moments of `layers`; missing ones are computed in one pass, which resumes after an interruption."""
        self._fill(parts, self.missing(layers), progress)
        ridge = f"-{self.settings.ridge!r}" if self.settings.ridge else ""
        return Moments(
            lambda layer: self._load(parts, layer, progress),
            lambda layer, what: self._directory / f"{self.content}-{layer}-{what}{ridge}.safetensors",
            lambda layer: self._parts(parts, layer, progress),
        )

    def compute_share(
        self, parts: Parts, layers: Sequence[int], share: tuple[int, int], progress: Progress = silent
    ) -> None:
        """Sum the moments of `layers` that are missing over one share of the texts, for another process' `compute`.

        Texts of all lengths are in every share.
        """
        missing = self.missing(layers)
        if not missing or mirror().present([self._stored_share(missing, share)]):
            return
        make_directory(self._directory)
        number, of = share
        rows = sorted(self._rows(progress), key=by_length)[number::of]
        path = self._stored_share(missing, share)
        partial = path.with_suffix(".partial")
        accumulate(self.model, parts, missing, rows, partial=partial, progress=progress).save(path)
        partial.unlink(missing_ok=True)

    def _stored_share(self, layers: Sequence[int], share: tuple[int, int]) -> Path:
        return self._directory / f"{self._named(layers)}.{share[0]}-of-{share[1]}.sums"

    def _named(self, layers: Sequence[int]) -> str:
        return f"{self.content}-{'.'.join(map(str, layers))}"

    def _from_shares(self, missing: Sequence[int]) -> Sums | None:
        """The sums of all shares, if they are there and whole, whatever their number; in order."""
        for first in mirror().matching(self._directory, f"{self._named(missing)}.0-of-*.sums"):
            of = int(first.stem.rpartition("-")[2])
            paths = [self._stored_share(missing, (number, of)) for number in range(of)]
            total = Sums()
            for path in paths:
                share = Sums.read(path)
                if share is None:
                    break
                total.add(share)
            else:
                return total
        return None

    def _fill(self, parts: Parts, missing: Sequence[int], progress: Progress) -> None:
        if missing:
            make_directory(self._directory)
            partial = self._directory / f"{self._named(missing)}.partial"
            sums = self._from_shares(missing)
            if sums is None:
                rows = self._rows(progress)
                sums = accumulate(self.model, parts, missing, rows, partial=partial, progress=progress)
            self._write(parts, sums, missing)
            shares = mirror().matching(self._directory, f"{self._named(missing)}.*-of-*.*")
            for done in (partial, *shares):
                mirror().remove(done)

    def _write(self, parts: Parts, sums: Sums, layers: Sequence[int]) -> None:
        counts = {"tokens": str(sums.tokens), "samples": str(sums.rows)}

        def write(layer: int) -> None:
            moment = sums.of[layer] / sums.tokens
            tensor_cache.store(self.path(layer), {"moment": moment}, counts)
            self._ready(layer, moment.to(device_of(parts.blocks[layer])))

        with ThreadPoolExecutor(WRITERS) as writers:
            for done in [writers.submit(write, layer) for layer in layers]:
                done.result()

    def _ready(self, layer: int, moment: Tensor) -> Tensor:
        """The moments with the ridge, which is added in place; held where they take little of the memory."""
        moment.diagonal().add_(self.settings.ridge * moment.diagonal().mean())
        if HELD * moment.nbytes <= free_bytes(moment.device):
            self._held[layer] = moment
        return moment

    def _rows(self, progress: Progress) -> list[Ids]:
        """The tokenised sample; ids without a row in the model's embedding are left out."""
        size = int(self.model.get_input_embeddings().weight.shape[0])
        texts = self.tokenizer(list(self._drawn.read(progress)))["input_ids"]
        rows = [tuple(id for id in ids if id < size)[: self.limit] for ids in texts]
        return [row for row in rows if row]

    def _load(self, parts: Parts, layer: int, progress: Progress) -> Tensor:
        """The moments of `layer`, with the ridge; stored ones that are damaged are computed again."""
        if layer in self._held:
            return self._held[layer]
        while (found := tensor_cache.load(self.path(layer), str(device_of(parts.blocks[layer])))) is None:
            self._fill(parts, [layer], progress)
        return self._ready(layer, found[0]["moment"])

    def _parts(self, parts: Parts, layer: int, progress: Progress) -> MatrixParts:
        """The same, of which only what is asked for is read."""
        stored = tensor_cache.StoredMatrix(self.path(layer), "moment")
        while (size := stored.size()) is None:
            self._fill(parts, [layer], progress)
        return MatrixParts(stored, size, self.settings.ridge)
