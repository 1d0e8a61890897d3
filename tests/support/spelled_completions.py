"""A server with real weights that lists tokens by their text, as vLLM and llama.cpp do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.real_weights import RealVllm
from tests.support.stand_ins import Answer


@dataclass
class SpelledVllm(RealVllm):
    """vLLM's completions."""

    def completed(self, body: Any) -> Answer:
        status, answer = super().completed(body)
        if status == 200 and (listed := answer["choices"][0]["logprobs"]) is not None:
            decode = self.replicas[0].tokenizer.decode
            tops = listed["top_logprobs"]
            listed["tokens"] = [decode([int(max(top, key=top.__getitem__))]) for top in tops]
            listed["top_logprobs"] = [{decode([int(id)]): value for id, value in top.items()} for top in tops]
        return status, answer
