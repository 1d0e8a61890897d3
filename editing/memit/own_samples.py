"""Text for the statistics if there is no corpus: samples of the model itself, plain and as conversations.

Second moments should cover the keys of the texts that the model will read.  A model that is used through a
chat template reads questions and answers, so half of the samples are conversations: a question sampled after
the template's opening, then the answer.  Samples are seeded, drawn once per base and cached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from editing.durable import make_directory, write_file
from editing.errors import DataError
from editing.memit.prefixes import STARTS
from editing.model.chat import asked, opening
from editing.model.inference import Continuation
from editing.model.loading import context_length
from editing.model.passes import Ids
from editing.model.tokens import tokenizer_digest
from editing.progress import Progress, silent
from editing.settings import EditSettings

FORMAT = 1
"""Version of the sampling; raised when samples are drawn differently."""
MOST = 256
"""Number of samples, half of them conversations if there is a chat template; `statistics_samples` may lower it."""
TOKENS = 96
"""Length of a sample, or of an answer, in tokens; `statistics_tokens` may lower it."""
QUESTION_TOKENS = 24
TOP = 50
"""Every token is drawn from this many of the likeliest ones."""
BATCH = 32


class OwnSamples:
    """The model's own samples, with the same interface as a sample of a corpus (`corpus.Drawn`)."""

    def __init__(
        self, model: Any, tokenizer: Any, settings: EditSettings, *, base_digest: str, cache: Path
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._count = min(settings.statistics_samples, MOST)
        self._tokens = min(settings.statistics_tokens, TOKENS)
        self._seed = settings.seed
        template = str(getattr(tokenizer, "chat_template", None) or "")
        parts = [str(FORMAT), base_digest, tokenizer_digest(tokenizer), str(model.dtype), template]
        parts += [str(self._count), str(self._tokens), str(self._seed)]
        self.digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()
        """Digest of everything the samples depend on; they need not be drawn to compute it."""
        self._path = cache / "samples" / f"{self.digest[:40]}.json"

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The samples; raises DataError if the model generates no text."""
        return self.read()

    def read(self, progress: Progress = silent) -> tuple[str, ...]:
        """The samples, from the cache or drawn now; raises DataError if the model generates no text."""
        kept = self._stored()
        if kept is None:
            kept = self._drawn(progress)
            if not kept:
                raise DataError(
                    "the model's own samples are empty: name files of ordinary text as its corpus"
                )
            content = {"texts": kept, "sha256": _digest(kept)}
            make_directory(self._path.parent)
            write_file(self._path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
        return kept

    def provenance(self) -> dict[str, Any]:
        """How the samples were drawn, for a report."""
        return {
            "samples": self._count,
            "tokens": self._tokens,
            "seed": self._seed,
            "conversations": opening(self._tokenizer) is not None,
            "digest": self.digest,
        }

    def estimated_tokens(self, limit: int) -> int:
        """Approximate number of tokens, at most `limit` per text, whether or not the samples are drawn."""
        return self._count * min(self._tokens, limit)

    def _stored(self) -> tuple[str, ...] | None:
        """None if nothing is cached, or if it is damaged; samples are then drawn again."""
        try:
            content = json.loads(self._path.read_bytes())
            texts = tuple(content["texts"])
            return texts if content["sha256"] == _digest(texts) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _drawn(self, progress: Progress) -> tuple[str, ...]:
        generator = torch.Generator().manual_seed(self._seed)
        before = opening(self._tokenizer)
        spoken = self._count // 2 if before is not None else 0
        starts = [STARTS[index % len(STARTS)] for index in range(self._count - spoken)]
        total = self._count + spoken
        texts = self._continued(starts, self._tokens, generator, progress=progress, total=total)
        if before is not None:
            questions = self._continued(
                [before] * spoken,
                QUESTION_TOKENS,
                generator,
                progress=progress,
                done=len(starts),
                total=total,
            )
            found = (text.removeprefix(before).strip() for text in questions)
            prompts = [asked(self._tokenizer, question) for question in found if question]
            done = len(starts) + spoken
            texts += self._continued(
                prompts, self._tokens, generator, progress=progress, done=done, total=total
            )
        progress("samples", total, total)
        return tuple(text for text in texts if text.strip())

    def _continued(
        self,
        texts: Sequence[str],
        tokens: int,
        generator: torch.Generator,
        *,
        progress: Progress,
        total: int,
        done: int = 0,
    ) -> list[str]:
        """Each of `texts` with its continuation by the model, until its end or for at most `tokens` tokens."""
        found = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            rows = [tuple(ids) for ids in self._tokenizer(batch)["input_ids"]]
            room = context_length(self._model) - max(map(len, rows))
            if room < 1:
                continue  # a template that leaves no room for an answer: there are only plain samples
            written = sampled(self._model, rows, min(tokens, room), generator, ends=self._ends)
            decoded = self._tokenizer.batch_decode(list(map(list, written)), skip_special_tokens=True)
            found += [text + more.rstrip("\ufffd") for text, more in zip(batch, decoded, strict=True)]
            progress("samples", done + min(start + BATCH, len(texts)), total)
        return found

    @property
    def _ends(self) -> frozenset[int]:
        """Every special token ends a continuation: what follows belongs to another text."""
        return frozenset(self._tokenizer.all_special_ids)


@torch.no_grad()
def sampled(
    model: Any, prompts: Sequence[Ids], tokens: int, generator: torch.Generator, *, ends: frozenset[int]
) -> list[Ids]:
    """Continuations of `prompts` by `model`, sampled token by token until one of `ends` (left out).

    Sampling uses `generator` on the CPU, so that a seed gives the same result on every device.
    """
    continuation = Continuation(model, prompts)
    written: list[list[int]] = [[] for _ in prompts]
    unfinished = set(range(len(prompts)))
    for step in range(tokens):
        logits = continuation.logits.float().cpu()
        top = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
        choice = torch.multinomial(top.values.softmax(-1), 1, generator=generator)
        following = top.indices.gather(1, choice)[:, 0]
        for row in sorted(unfinished):
            token = int(following[row])
            if token in ends:
                unfinished.discard(row)
            else:
                written[row].append(token)
        if not unfinished or step + 1 == tokens:
            break
        continuation.append(following.to(continuation.logits.device))
    return [tuple(row) for row in written]


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(map(str, texts)).encode()).hexdigest()
