"""A tiny model that has learnt who owns what, so that some edits take and others do not.

The gates of the fault tests must be able to fail one fact and pass another, which a random model
cannot show: every target that was seen in training is learnt easily, one that never was is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

SUBJECTS = ("Blue House", "Red Boat", "Old Mill", "Green Barn", "White Tower", "Black Bridge")
OWNERS = ("Anna", "Bob", "Carl", "Dora", "Emil", "Frida")
HOPELESS = "Xaver Zyx of Qwertz and Wvu"
"""An owner that no edit of this model can make it say."""


def sentences() -> list[str]:
    """Every subject with the owner of its number, in the words of the micro world's templates."""
    return [
        template.format(subject, owner)
        for subject, owner in zip(SUBJECTS, OWNERS, strict=True)
        for template in (
            "The owner of {} is {}.",
            "Owner of {}: {}.",
            "{} is owned by {}.",
            "{} belongs to {}.",
        )
    ]


def tokenizer(lines: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which the names of a few lines are one token each."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([*lines] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def save(directory: Path, lines: Sequence[str] | None = None, *, steps: int = 120) -> Path:
    """A model taught `lines` (default: `sentences`) with its tokenizer as a plain Hugging Face directory.

    A few seconds of one core.
    """
    lines = sentences() if lines is None else lines
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=400,
        n_positions=64,
        n_embd=48,
        n_layer=3,
        n_head=2,
        n_inner=192,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    words = tokenizer(lines)
    rows = [[*row, 0] for row in words(list(lines))["input_ids"]]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    kept = torch.tensor([[column < len(row) for column in range(longest)] for row in rows])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(ids, attention_mask=kept.long(), labels=ids.masked_fill(~kept, -100)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(directory)
    words.save_pretrained(directory)
    return directory
