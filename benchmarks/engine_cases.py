"""Models, tokenizer and edits for the engine's benchmark: real shapes, random weights, made-up names.

Cost does not depend on what a model knows, but for edits that end early; random weights never do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, GPTJConfig, PreTrainedTokenizerFast

from editing.requests import EditRequest
from editing.settings import EditSettings

TEMPLATES = (
    "The mother tongue of {} is",
    "{} plays the position of",
    "{} was born in the city of",
    "The headquarters of {} are located in",
    "{}, which is part of",
    "The official religion of {} is",
)
OBJECTS = (
    "Paris",
    "Rome",
    "English",
    "French",
    "Oslo",
    "Madrid",
    "Berlin",
    "Vienna",
    "Lisbon",
    "Dutch",
    "Italian",
    "Prague",
)
HEADS = ("Al", "Ber", "Cor", "Dan", "El", "Far", "Gor", "Han", "Il", "Jor", "Kal", "Lor")
TAILS = ("ado", "ion", "eth", "ina", "ova", "sen", "mark", "wick")


DEMO_MODEL = Path(__file__).parents[1] / "kbsync" / "demo" / "model"


@dataclass(frozen=True)
class Shape:
    """One row of the table."""

    name: str
    config: Any
    settings: EditSettings
    edits: tuple[int, ...]
    serial_edits: int


def shapes(*, quick: bool, device: str) -> list[Shape]:
    """What is measured: the testbed's shape, GPT-2 medium's, and on a GPU GPT-J-6B's."""
    testbed = Shape(
        "testbed (d 128, 4 layers, d_k 2,048)",
        GPT2Config.from_pretrained(DEMO_MODEL),
        EditSettings(layers=(0, 1), lam=100.0, clamp=2.0, stop_loss=-1.0, statistics_samples=200),
        (64,) if quick else (16, 64, 256),
        8 if quick else 32,
    )
    medium = Shape(
        "gpt2-medium shape (d 1,024, 24 layers)",
        GPT2Config(n_embd=1024, n_layer=24, n_head=16, n_positions=256),
        EditSettings(
            layers=(5, 6, 7), lam=15_000.0, stop_loss=-1.0, steps=5 if quick else 25, statistics_samples=100
        ),
        (8,) if quick else (64,),
        2 if quick else 8,
    )
    if device == "cpu":
        return [testbed, medium]
    gptj = Shape(
        "gpt-j-6b shape",
        GPTJConfig(n_embd=4096, n_layer=28, n_head=16, rotary_dim=64),
        EditSettings(layers=(3, 4, 5, 6, 7, 8), lam=15_000.0, stop_loss=-1.0, statistics_samples=1000),
        (256,) if quick else (1000,),
        4,
    )
    return [testbed, medium, gptj]


def load(shape: Shape, device: str) -> Any:
    """The model of `shape` with random weights: fp32 on a CPU, bf16 for GPT-J on a GPU."""
    torch.manual_seed(0)
    large = shape.config.model_type == "gptj"
    dtype = torch.bfloat16 if large else torch.float32
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape.config, dtype=dtype)
    return model.eval()


def names(count: int, seed: int = 0) -> list[str]:
    """`count` different made-up names of two words."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = (draw.choice(HEADS) + draw.choice(HEADS).lower() + draw.choice(TAILS) for _ in range(2))
        found[" ".join(words)] = None
    return list(found)


def edits(count: int) -> list[EditRequest]:
    """`count` edits about as many subjects."""
    draw = random.Random(1)
    return [
        EditRequest(str(index), draw.choice(TEMPLATES), name, draw.choice(OBJECTS))
        for index, name in enumerate(names(count))
    ]


def text(count: int = 2000) -> list[str]:
    """Lines for the tokenizer and the statistics."""
    draw = random.Random(2)
    return [
        ". ".join(f"{draw.choice(TEMPLATES).format(name)} {draw.choice(OBJECTS)}" for name in names(4, seed))
        for seed in range(count)
    ]


def byte_bpe(lines: list[str], size: int = 1200) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `lines`: about three tokens a name, as GPT-2 has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
