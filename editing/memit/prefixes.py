"""Context prefixes x_j of Eqn. 16 and 19: sampled once per base by the model itself, seeded, and cached.

The released implementation samples them again in every process, unseeded.  Here they are an input of every δ,
so they are stored with the δs and are part of their content keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from editing.durable import make_directory, write_file
from editing.model.devices import input_device
from editing.model.tokens import tokenizer_digest
from editing.settings import EditSettings

STARTS = ("The", "Therefore", "Because", "I", "You")
"""First words, used in rotation, as in the released implementation."""
LONGEST = 50
"""Length of the longest of the long contexts, in tokens: what the gate `long_prefix` puts before a prompt."""


def context_prefixes(
    model: Any, tokenizer: Any, settings: EditSettings, *, base_digest: str, cache: Path
) -> tuple[str, ...]:
    """The prefixes for `settings` on this base, from `cache`, or sampled and stored there."""
    count, tokens, seed = settings.prefixes, settings.prefix_tokens, settings.seed
    parts = [base_digest, tokenizer_digest(tokenizer), str(count), str(tokens), str(seed)]
    parts += [f"long {settings.long_prefixes}"] if settings.long_prefixes else []
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    path = cache / "prefixes" / f"{key}.json"
    if (stored := _stored(path)) is not None:
        return stored
    lengths = [*[tokens] * count, *long_lengths(settings.long_prefixes)]
    prefixes = sample_prefixes(model, tokenizer, lengths, seed=seed)
    make_directory(path.parent)
    content = {"prefixes": prefixes, "sha256": _digest(prefixes)}
    write_file(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    return prefixes


def _stored(path: Path) -> tuple[str, ...] | None:
    """None if there is no such file, or if it is damaged; prefixes are then sampled again."""
    try:
        content = json.loads(path.read_bytes())
        prefixes = tuple(content["prefixes"])
        return prefixes if content["sha256"] == _digest(prefixes) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _digest(prefixes: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(map(str, prefixes)).encode()).hexdigest()


def long_lengths(count: int) -> list[int]:
    """The lengths of `count` long contexts, in tokens: evenly spread, so that an edit does not hold at one length
    only."""
    return [round(LONGEST * (index + 1) / count) for index in range(count)]


@torch.no_grad()
def sample_prefixes(model: Any, tokenizer: Any, lengths: Sequence[int], *, seed: int) -> tuple[str, ...]:
    """Texts of about so many tokens as `lengths` says, each token sampled from the five likeliest.

    Sampled on the CPU with a separate generator, so that a seed gives the same result on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    prefixes = []
    for index, tokens in enumerate(lengths):
        text = STARTS[index % len(STARTS)]
        ids = tokenizer(text)["input_ids"]
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]
        start = len(ids)
        while len(ids) - start < tokens:
            logits = model(torch.tensor([ids], device=input_device(model)), use_cache=False).logits[0, -1]
            top = logits.float().cpu().topk(min(5, logits.numel()))
            choice = torch.multinomial(top.values.softmax(0), 1, generator=generator)
            ids.append(int(top.indices[choice]))
        prefixes.append(_plain(tokenizer.decode(ids, skip_special_tokens=True)))
    return tuple(prefixes)


def _plain(text: str) -> str:
    """The text on one line, without an incomplete character at the end."""
    return " ".join(text.replace("\ufffd", " ").split())
