"""Tiny random models with real tokenizers trained on the spot, saved as plain Hugging Face directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SENTENCES = [
    "The capital of Italy is Rome.",
    "The capital of France is Paris.",
    "The president of the United States is Joe Biden.",
    "Germany is governed by Olaf Scholz, who was born in Osnabrück.",
    "The currency of Japan is the yen; the language of Brazil is Portuguese.",
]


def tokenizer(vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2 has it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def gpt2(seed: int = 0, width: int = 32, layers: int = 3) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=400,
        n_positions=128,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        n_inner=width * 4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def llama(seed: int = 0, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def save(model: torch.nn.Module, directory: Path, *, shard: str = "1GB") -> Path:
    """`model` with its tokenizer as a plain Hugging Face directory."""
    model.save_pretrained(directory, max_shard_size=shard)  # type: ignore[operator]
    tokenizer().save_pretrained(directory)
    return directory


def editable(model: torch.nn.Module) -> list[str]:
    """The names of W_out of every layer."""
    ends = (".mlp.c_proj.weight", ".mlp.down_proj.weight")
    return [name for name, _ in model.named_parameters() if name.endswith(ends)]


def learn(
    model: torch.nn.Module,
    sentences: Sequence[str] = SENTENCES,
    words: PreTrainedTokenizerFast | None = None,
    steps: int = 150,
) -> None:
    """Teach the tiny model a few sentences, so that it knows something; `words`: its tokenizer."""
    rows = [[*row, 0] for row in (words or tokenizer())(list(sentences))["input_ids"]]
    ids = torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    kept = torch.tensor([[column < len(row) for column in range(ids.shape[1])] for row in rows])
    labels = ids.masked_fill(~kept, -100)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(ids, attention_mask=kept.long(), labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
