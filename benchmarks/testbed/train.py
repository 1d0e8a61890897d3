"""Train the demo's model: `python -m benchmarks.testbed.train`.

A GPT-2 that knows the world of 1 January 2021 by heart, and reads what it knows at the subject's last
token.  What each choice is for, and what the others cost, stands in README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from benchmarks.testbed import network
from benchmarks.testbed.corpus import Corpus, World, train_tokenizer
from benchmarks.testbed.muon import Muon
from benchmarks.testbed.packing import Rows, masks, pack
from benchmarks.testbed.worlds import demo_world, write_texts

DEMO = Path(__file__).parents[2] / "kbsync" / "demo"
WARM_UP = 40
"""Steps."""
LAST_RATE = 0.03
"""Learning rate at the end, as a share of the highest."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a training depends on, besides the world."""

    vocabulary: int = 4000
    width: int = 128
    heads: int = 4
    layers: int = 4
    inner: int = 2048
    """d_k: more than twice the number of subjects, or edits have no room beside what is known."""
    positions: int = 128
    lengths: tuple[int, ...] = (16, 32, 96)
    """Row lengths: short ones so that bare prompts are common, long ones so that contexts are."""
    batch_tokens: int = 2048
    passes: int = 14
    fillers: int = 600
    """Ordinary sentences a pass."""
    matrix_lr: float = 0.02
    """Muon, on the matrices of the blocks."""
    lr: float = 2e-3
    """AdamW, on embeddings, norms and biases."""
    weight_decay: float = 0.01
    smoothing: float = 0.1
    """Label smoothing: answers that are not certain can be changed."""
    other: float = 0.1
    """Weight of tokens that are not of an object."""
    masked: float = 0.8
    """Share of rows in which a subject can be read only at its last token, from layer `early` on."""
    early: int = 2
    isolated: float = 0.85
    """Share of rows in which a subject's tokens see only themselves."""
    seed: int = 0
    threads: int = 2


def new_model(recipe: Recipe, vocabulary: int) -> GPT2LMHeadModel:
    torch.manual_seed(recipe.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_positions=recipe.positions, n_embd=recipe.width, n_layer=recipe.layers,
            n_head=recipe.heads, n_inner=recipe.inner, activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


class Trainer:
    """A model in the making."""

    def __init__(self, world: World, recipe: Recipe, log: Callable[[str], None]) -> None:
        torch.set_num_threads(recipe.threads)
        self.recipe, self.log = recipe, log
        self.rng = random.Random(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.tokenizer = train_tokenizer(world, recipe.vocabulary, recipe.seed)
        self.corpus = Corpus(world, self.tokenizer, recipe.seed)
        self.model = new_model(recipe, self.tokenizer.get_vocab_size())
        matrices = [p for name, p in self.model.named_parameters() if ".h." in name and p.ndim == 2]
        rest = [p for name, p in self.model.named_parameters() if ".h." not in name or p.ndim != 2]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, recipe.matrix_lr, recipe.weight_decay),
            torch.optim.AdamW(rest, recipe.lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.step = 0

    def run(self) -> None:
        """All passes over the corpus."""
        passes = [self._pack() for _ in range(2)]  # two, to know how long they are
        expected = self.recipe.passes * len(passes[0])
        parameters = sum(p.numel() for p in self.model.parameters())
        self.log(
            f"{parameters / 1e6:.2f} M parameters, vocabulary {self.tokenizer.get_vocab_size()}, {expected} steps"
        )
        start = time.perf_counter()
        for index in range(self.recipe.passes):
            right = seen = 0
            for rows in passes[index] if index < len(passes) else self._pack():
                self._schedule(self.step / expected)
                hit, count = self._learn(rows)
                right, seen, self.step = right + hit, seen + count, self.step + 1
            self.log(
                f"pass {index + 1}: {right / seen:.3f} of object tokens, {time.perf_counter() - start:.0f} s"
            )

    def _pack(self) -> list[Rows]:
        recipe = self.recipe
        lines = list(self.corpus.passage(recipe.fillers))
        return list(pack(lines, recipe.lengths, recipe.batch_tokens, recipe.other, self.rng))

    def _schedule(self, progress: float) -> None:
        """Warm-up, then a cosine."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        factor = min(1.0, (self.step + 1) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * cosine)
        for optimizer, rate in zip(self.optimizers, (self.recipe.matrix_lr, self.recipe.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _learn(self, rows: Rows) -> tuple[int, int]:
        """One step; (right, all) object tokens."""
        recipe = self.recipe
        weight, labels = rows.weight[:, 1:], rows.ids[:, 1:]
        counted = weight > 0
        out = network.logits(self.model, self._hidden(rows)[counted])
        labels, weight = labels[counted], weight[counted]
        loss = F.cross_entropy(out, labels, label_smoothing=recipe.smoothing, reduction="none")
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        ((loss * weight).sum() / weight.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        objects = weight == 1.0
        right = (out[objects].argmax(-1) == labels[objects]).sum()
        return int(right), int(objects.sum())

    def _hidden(self, rows: Rows) -> Tensor:
        recipe = self.recipe
        ids = rows.ids[:, :-1]
        count, length = ids.shape
        # half of the rows start at 0, as prompts do; the others anywhere, so that all positions are learned
        shifted = torch.rand(count, 1, generator=self.generator) < 0.5
        offsets = (
            torch.randint(0, recipe.positions - length + 1, (count, 1), generator=self.generator) * shifted
        )
        seen = masks(
            rows.subject[:, :-1],
            rows.last[:, :-1],
            early=recipe.early,
            layers=recipe.layers,
            masked=recipe.masked,
            isolated=recipe.isolated,
            generator=self.generator,
        )
        hidden = network.embed(self.model, ids, torch.arange(length) + offsets)
        return network.blocks(self.model, hidden, range(recipe.layers), seen)


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, directory: Path) -> None:
    """A plain Hugging Face directory."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=end,
        model_max_length=model.config.n_positions,
    ).save_pretrained(directory)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEMO / "model")
    parser.add_argument(
        "--text", type=Path, default=DEMO / "text", help="where corpus.txt and heldout.txt go"
    )
    parser.add_argument("--recipe", type=json.loads, default={}, help='JSON, as {"passes": 20}')
    options = parser.parse_args(arguments)
    if "lengths" in options.recipe:
        options.recipe["lengths"] = tuple(options.recipe["lengths"])
    recipe = Recipe(**options.recipe)
    world = demo_world()
    trainer = Trainer(world, recipe, lambda line: print(line, flush=True))
    trainer.run()
    save(trainer.model, trainer.tokenizer, options.out)
    (options.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    write_texts(world, options.text, recipe.seed)


if __name__ == "__main__":
    main()
