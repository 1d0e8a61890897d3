"""Servers that generate with real weights: the requests of vLLM and SGLang, honest or wrong in the ways of real ones.

They load a checkpoint with plain transformers, decode greedily with log-probabilities, and keep keys and values of
prompts in blocks, as a prefix cache does.  What is wrong with one is set by a test in `Wrong`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from editing.model.caching import attending_to
from editing.storage.checkpoints import read_manifest
from tests.support.stand_ins import Answer, Sglang, Speech, StandIn, Vllm

BLOCK = 16
"""Tokens of a block of the prefix cache, as in vLLM."""


@dataclass
class Wrong:
    """What a server does otherwise than it reports."""

    keeps_prefixes: bool = False
    """The reset of its prefix cache is reported as done."""
    keeps_weights: bool = False
    """A reload is reported as done."""
    loads_half: bool = False
    """Of the tensors that a reload changes, only every second one is loaded."""
    keeps_replica: bool = False
    """Of two replicas behind this address, only one loads."""
    bits: int | None = None
    """Matrices are rounded to so many bits, each row with a scale of its own."""


@dataclass
class Replica:
    """One copy of the weights, with its prefix cache."""

    dtype: torch.dtype = torch.float32
    attention: str = "sdpa"
    model: Any = None
    tokenizer: Any = None
    prefixes: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def load(self, directory: Path, wrong: Wrong) -> None:
        new = AutoModelForCausalLM.from_pretrained(
            directory, dtype=self.dtype, attn_implementation=self.attention
        )
        if wrong.bits is not None:
            _round(new, wrong.bits)
        if wrong.loads_half and self.model is not None:
            _take_back_half(new, self.model)
        self.model, self.tokenizer = new.eval(), AutoTokenizer.from_pretrained(directory)

    @torch.inference_mode()
    def complete(self, prompt: str, tokens: int, tops: int, rows: int) -> dict[str, Any]:
        """The completion as the OpenAI API describes it; `rows`: how many equal requests run in one batch."""
        ids = self.tokenizer(prompt)["input_ids"]
        cache, start = self._cached(ids, rows)
        logits = self._forward(ids[start:], cache, rows)
        self._keep(ids, cache)
        said, own, likeliest = [], [], []
        while len(said) < tokens:
            logprobs = logits.float().log_softmax(-1)
            token = int(logprobs.argmax())
            if token == self.tokenizer.eos_token_id:
                break
            top = logprobs.topk(max(tops, 1))
            said.append(token)
            own.append(float(logprobs[token]))
            likeliest.append(dict(zip(map(str, top.indices.tolist()), top.values.tolist(), strict=True)))
            if len(said) < tokens:
                logits = self._forward([token], cache, rows)
        listed = {"token_logprobs": own, "top_logprobs": likeliest}
        return {"text": self.tokenizer.decode(said), "logprobs": listed if tops else None}

    def _forward(self, ids: list[int], cache: DynamicCache, rows: int) -> Tensor:
        """(V,) logits after the last of `ids`."""
        logits: Tensor = self.model(torch.tensor([ids] * rows), **attending_to(self.model, cache)).logits
        return logits[rows - 1, -1]

    def _cached(self, ids: list[int], rows: int) -> tuple[DynamicCache, int]:
        """The cache with the longest kept beginning of `ids`, at least its last token left out; its length."""
        cache = DynamicCache(config=self.model.config)
        for length in range((len(ids) - 1) // BLOCK * BLOCK, 0, -BLOCK):
            if (kept := self.prefixes.get(tuple(ids[:length]))) is not None:
                for layer, (keys, values) in enumerate(kept):
                    cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
                return cache, length
        return cache, 0

    def _keep(self, ids: list[int], cache: DynamicCache) -> None:
        for length in range(BLOCK, len(ids), BLOCK):
            kept = [
                (layer.keys[:1, :, :length].clone(), layer.values[:1, :, :length].clone())
                for layer in cache.layers
            ]
            self.prefixes.setdefault(tuple(ids[:length]), kept)


def _round(model: Any, bits: int) -> None:
    """Round every matrix in place, symmetrically, with one scale for a row."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                scale = parameter.float().abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
                parameter.copy_((parameter.float() / scale).round() * scale)


def _take_back_half(new: Any, old: Any) -> None:
    """Every second tensor that differs keeps its old value."""
    before = dict(old.named_parameters())
    changed = [name for name, tensor in new.named_parameters() if not torch.equal(tensor, before[name])]
    with torch.no_grad():
        for name in changed[::2]:
            new.get_parameter(name).copy_(before[name])


def _no_table(directory: Path) -> Speech:
    return lambda _: ""


@dataclass
class RealWeights(StandIn):
    """Replaces the table of answers by one or two replicas with real weights."""

    loader: Callable[[Path], Speech] = _no_table
    wrong: Wrong = field(default_factory=Wrong)
    dtype: torch.dtype = torch.float32
    attention: str = "sdpa"
    count: int = 1
    """Replicas behind this address, which take turns."""
    batching: random.Random | None = None
    """Draws how many requests run together; alone without it."""
    gives_logprobs: bool = True

    def restart(self) -> None:
        super().restart()
        self.replicas = [Replica(self.dtype, self.attention) for _ in range(self.count)]
        self.turn = 0
        if self.launched_with is not None:
            for replica in self.replicas:
                replica.load(self.launched_with, Wrong(bits=self.wrong.bits))

    def load(self, path: str) -> None:
        here = Path(path.replace(*self.mount) if self.mount else path)
        if not here.is_dir():
            raise OSError(f"{here} is not a directory")
        loading = self.replicas[:-1] if self.wrong.keeps_replica else self.replicas
        self.loaded = here
        for replica in () if self.wrong.keeps_weights else loading:
            replica.load(here, self.wrong)

    def clear(self) -> None:
        if not self.wrong.keeps_prefixes:
            for replica in self.replicas:
                replica.prefixes.clear()

    def checksums(self) -> Answer:
        """SHA-256 of every tensor of the editable shard, as the first replica has it in memory."""
        model = self.replicas[0].model
        editable = read_manifest(self.loaded).editable
        return 200, {
            stored: hashlib.sha256(model.get_parameter(name).detach().numpy().tobytes()).hexdigest()
            for name, stored in editable.items()
        }

    def completed(self, body: Any) -> Answer:
        if body["model"] != self.served:
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        assert body["temperature"] == 0
        if not self.gives_logprobs and "logprobs" in body:
            return 400, {"error": {"message": "logprobs is not supported"}}
        self.turn += 1
        replica = self.replicas[self.turn % len(self.replicas)]
        if replica.model is None:
            return 503, {"error": {"message": "no model is loaded"}}
        rows = self.batching.randint(1, 4) if self.batching else 1
        return 200, {
            "choices": [replica.complete(body["prompt"], body["max_tokens"], body.get("logprobs", 0), rows)]
        }


@dataclass
class RealVllm(RealWeights, Vllm):
    """vLLM's requests."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path == "/v1/completions":
            return self.completed(body)
        if path == "/checksums":
            return self.checksums()
        if path == "/reset_prefix_cache":
            self.clear()
        return super().answer(method, path, query, body)


@dataclass
class RealSglang(RealWeights, Sglang):
    """SGLang's requests."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path == "/v1/completions":
            return self.completed(body)
        answer = super().answer(method, path, query, body)
        if path == "/update_weights_from_disk" and body["flush_cache"]:
            self.clear()
        return answer


def wrongs() -> Iterator[tuple[str, Wrong, int]]:
    """Every way to serve something else: its name, what is wrong, and the number of replicas."""
    yield "a stale prefix cache", Wrong(keeps_prefixes=True), 1
    yield "half of the tensors", Wrong(loads_half=True), 1
    yield "the old weights under the new name", Wrong(keeps_weights=True), 1
    yield "one of two replicas", Wrong(keeps_replica=True), 2
    yield "weights rounded to 8 bits", Wrong(bits=8), 1
