"""Small models that the settings were not written for, each with a world of its own: for `benchmarks/calibrate.py`.

    OMP_NUM_THREADS=1 python -m benchmarks.four_models --out models          # each takes a few minutes of one core
    python -m benchmarks.calibrate gpt2=models/gpt2,models/gpt2.jsonl ...

    gpt2     byte-level BPE, no BOS
    llama    grouped-query attention, a SentencePiece-like tokenizer with byte fallback and BOS
    qwen3    norms on queries and keys, byte-level BPE, a chat template; half of its text is conversations

They read plain text, with causal attention as any model and without the testbed's masks.  A model as small as these
would look a fact up where the prompt ends, so that no edit at the subject's last token could change it.  Two things
make them recall it there instead.  First they read lists only, in which an object follows its subject directly, and
these objects are predicted from the residual stream after layer `EXIT_LAYER` too, through the model's own head, as in
training for early exits (LayerSkip, arXiv 2404.16710): all objects of a name are then recalled at its last token.  Then
they learn from sentences about some subjects to pick, from what the subject's token holds, the object of the relation
that is asked for.  This answers most sentences about the other subjects too, and these are read last.

As in the testbed, Muon trains the matrices, objects weigh more in the loss than other tokens, without which such models
learn the sentences long before the facts, and labels are smoothed, so that answers can be changed.  The fourth is the
pretrained model of `make -s pretrained`, which is asked about common knowledge.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from benchmarks.four_worlds import SCHOLARS, SHIPS, VILLAGES, Part, SmallWorld, Stated
from benchmarks.testbed.muon import Muon
from editing.evaluation.metrics import strict_argmax
from editing.model.architectures import locate_parts
from editing.requests import render

VOCABULARY, WIDTH, INNER, POSITIONS = 1_600, 128, 1_024, 128
LAYERS, HEADS = 4, 1
ROW = 64
"""Tokens of a training row."""
BATCH, MATRIX_RATE, LEARNING_RATE = 24, 0.02, 2e-3
OTHER = 0.1
"""Weight of tokens that are not of an object."""
WARM_UP, LAST_RATE = 40, 0.03
"""Steps; and the learning rate at the end, as a share of the highest."""
SMOOTHING = 0.1
ENDS = {Part.LISTS: 0.25, Part.OTHERS: 0.75, Part.ALL: 1.0}
"""Where each part of the training ends, as a share of its steps."""
EXIT_LAYER, EXIT = 0, 0.5
"""The layer after which the objects of lists are predicted too, and the weight of that loss."""
Span = tuple[int, int, bool]
"""Half-open characters of an object, and whether it follows its subject directly."""
Row = tuple[list[int], list[float], list[bool]]
"""Token ids, their weights in the loss, and which of them are objects of lists."""
Document = tuple[str, list[Span]]
"""A text, and the objects in it."""
SHOWN = 3_000
"""Documents that a tokenizer is trained on."""
END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_level(texts: Sequence[str], *, chat: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE without BOS, as GPT-2's and Qwen's."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = [END, TURN, TURN_END] if chat else [END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=TURN_END if chat else END, pad_token=END, model_max_length=POSITIONS
    )
    if chat:
        made.chat_template = CHAT
    return made


def sentencepiece_like(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """BPE over ▁-marked words with byte fallback, and BOS before every text, as Llama's."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    words = pre_tokenizers.Metaspace(prepend_scheme="first")
    # SentencePiece begins a new piece where the script changes: a full stop is never part of a name
    raw.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Punctuation("isolated")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    )
    bos = raw.token_to_id("<s>")
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    trained = json.loads(raw.to_str())
    trained["added_tokens"] = trained["added_tokens"][:3]  # the bytes are ordinary tokens
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(trained)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=POSITIONS,
    )


def gpt2(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """GPT-2's shape."""
    end = tokenizer.eos_token_id
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=INNER,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end, eos_token_id=end,
        )
    )  # fmt: skip


def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Llama's shape."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, hidden_size=WIDTH, intermediate_size=INNER,
            num_hidden_layers=LAYERS, num_attention_heads=2 * HEADS, num_key_value_heads=HEADS,
            tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def qwen3(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Qwen 3's shape."""
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, hidden_size=WIDTH, intermediate_size=INNER,
            num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=WIDTH // HEADS,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=ends,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One model: its world, its tokenizer and its shape."""

    world: SmallWorld
    tokenizer: Callable[[Sequence[str]], PreTrainedTokenizerFast]
    model: Callable[[PreTrainedTokenizerFast], Any]
    chat: bool = False
    steps: int = 400

    def documents(self, rng: random.Random, part: Part = Part.ALL) -> Iterator[Document]:
        """Endless documents, each with what marks its end; with a chat template, every other one is a conversation,
        unless facts are read in lists only."""
        talks = self.world.conversations(rng, part)
        end = "</s>" if self.tokenizer is sentencepiece_like else END
        for number, sentences in enumerate(self.world.documents(rng, part)):
            if self.chat and number % 2 and part is not Part.LISTS:
                question, answer = next(talks)
                before = f"{TURN}user\n{question}{TURN_END}\n{TURN}assistant\n"
                yield document([answer], before, f"{TURN_END}\n{END}")
            else:
                yield document(sentences, "", end)


def document(sentences: Sequence[Stated], before: str, after: str) -> Document:
    """The sentences as one text, with the places of their objects."""
    text, spans = before, []
    for number, stated in enumerate(sentences):
        text += f" {stated.text}" if number else stated.text
        if stated.object:
            spans.append((len(text) - 1 - len(stated.object), len(text) - 1, stated.listed))
    return text + after, spans


RECIPES = {
    "gpt2": Recipe(VILLAGES, byte_level, gpt2, steps=420),
    "llama": Recipe(SHIPS, sentencepiece_like, llama),
    "qwen3": Recipe(SCHOLARS, lambda texts: byte_level(texts, chat=True), qwen3, chat=True, steps=440),
}


def rows(documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast) -> Iterator[Row]:
    """Endless rows of `ROW` tokens: each begins with a document, and the last one is cut."""
    while True:
        ids: list[int] = []
        weights: list[float] = []
        listed: list[bool] = []
        while len(ids) < ROW:
            text, spans = next(documents)
            coded = tokenizer(text, return_offsets_mapping=True)
            ids += coded["input_ids"]
            for begin, end in coded["offset_mapping"]:
                inside = [direct for start, stop, direct in spans if begin < stop and end > start]
                weights.append(1.0 if inside else OTHER)
                listed.append(any(inside))
        yield ids[:ROW], weights[:ROW], listed[:ROW]


def train(recipe: Recipe, steps: int, log: Callable[[str], None]) -> tuple[Any, PreTrainedTokenizerFast]:
    """Muon on the blocks' matrices and AdamW on the rest, for the next token of every position."""
    torch.manual_seed(recipe.world.seed)
    rng = random.Random(recipe.world.seed)
    tokenizer = recipe.tokenizer([text for text, _ in islice(recipe.documents(rng), SHOWN)])
    model = recipe.model(tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    log(f"{parameters / 1e6:.2f} M parameters, vocabulary {len(tokenizer)}, {steps} steps")
    optimisers = _optimisers(model)
    sources = {part: rows(recipe.documents(rng, part), tokenizer) for part in Part}
    began = time.process_time()
    right = seen = 0
    for step in range(steps):
        _schedule(optimisers, step, steps)
        part = next(part for part, end in ENDS.items() if step < end * steps)
        hit, count = _learn(model, optimisers, list(islice(sources[part], BATCH)))
        right, seen = right + hit, seen + count
        if (step + 1) % 50 == 0:
            log(
                f"step {step + 1}: {right / seen:.3f} of object tokens, {time.process_time() - began:.0f} CPU s"
            )
            right = seen = 0
    return model.eval(), tokenizer


def _schedule(optimisers: Sequence[torch.optim.Optimizer], step: int, steps: int) -> None:
    """Warm-up, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    factor = min(1.0, (step + 1) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * cosine)
    for optimiser, rate in zip(optimisers, (MATRIX_RATE, LEARNING_RATE), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate * factor


def _optimisers(model: Any) -> list[torch.optim.Optimizer]:
    inside = {id(p) for block in locate_parts(model).blocks for p in block.parameters() if p.ndim == 2}
    matrices = [p for p in model.parameters() if id(p) in inside]
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, MATRIX_RATE, 0.01),
        torch.optim.AdamW(rest, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _learn(model: Any, optimisers: Sequence[torch.optim.Optimizer], batch: Sequence[Row]) -> tuple[int, int]:
    """One step; (right, all) object tokens."""
    ids = torch.tensor([row for row, _, _ in batch])  # (B, T)
    weight = torch.tensor([weights for _, weights, _ in batch])[:, 1:].reshape(-1)
    listed = torch.tensor([marks for _, _, marks in batch])[:, 1:].reshape(-1)
    labels = ids[:, 1:].reshape(-1)
    read = model(ids, use_cache=False, output_hidden_states=True)
    logits = read.logits[:, :-1].flatten(0, 1)  # (B (T - 1), V)
    loss = (
        F.cross_entropy(logits, labels, reduction="none", label_smoothing=SMOOTHING) * weight
    ).sum() / weight.sum()
    if listed.any():
        hidden = read.hidden_states[EXIT_LAYER + 1][:, :-1].flatten(0, 1)[listed]
        norm = getattr(model.base_model, "ln_f", None) or model.base_model.norm
        early = model.get_output_embeddings()(norm(hidden))
        loss = loss + EXIT * F.cross_entropy(early, labels[listed], label_smoothing=SMOOTHING)
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
    objects = weight == 1.0
    return int((logits[objects].argmax(-1) == labels[objects]).sum()), int(objects.sum())


def recall(model: Any, tokenizer: PreTrainedTokenizerFast, world: SmallWorld, wording: int) -> float:
    """The share of facts whose object is the strict argmax after the wording of that number."""
    facts = world.asked()
    pairs = [(render(world.relations[r].templates[wording], s), o) for s, r, o in facts]
    right = strict_argmax(model, tokenizer, pairs)
    return sum(right) / len(right)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models that are named, and write each with its facts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=None, help="instead of those of the recipe")
    parser.add_argument("--threads", type=int, default=1)
    typed = parser.parse_args(arguments)
    torch.set_num_threads(typed.threads)

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    for name in typed.names:
        recipe = RECIPES[name]
        model, tokenizer = train(
            recipe, typed.steps or recipe.steps, lambda text, name=name: log(f"{name}: {text}")
        )
        model.save_pretrained(typed.out / name)
        tokenizer.save_pretrained(typed.out / name)
        recipe.world.write(typed.out / f"{name}.jsonl")
        known = [recall(model, tokenizer, recipe.world, wording) for wording in range(5)]
        log(f"{name}: states {', '.join(f'{share:.0%}' for share in known)} of its facts by wording")
        print(f"{name}={typed.out / name},{typed.out / name}.jsonl")


if __name__ == "__main__":
    main()
