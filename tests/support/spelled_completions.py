"""A server with real weights that lists tokens by their text, as vLLM and llama.cpp do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.real_weights import RealVllm
from tests.support.stand_ins import Answer


@dataclass
class SpelledVllm(RealVllm):
    """vLLM's completions, also those of conversations."""

    chats: bool = True
    """Whether there is `/v1/chat/completions`."""
    knows_template_options: bool = True
    """Whether it takes `chat_template_kwargs`."""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path == "/v1/chat/completions" and self.chats:
            return self.answered(body)
        return super().answer(method, path, query, body)

    def answered(self, body: Any) -> Answer:
        """The answer to a conversation, which is put through the checkpoint's own template."""
        options = body.get("chat_template_kwargs", {})
        if options and not self.knows_template_options:
            return 422, {"error": {"message": "chat_template_kwargs: extra inputs are not permitted"}}
        prompt = self.replicas[0].tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=True, **options
        )
        tops = {"logprobs": body["top_logprobs"]} if body.get("logprobs") else {}
        common = {name: body[name] for name in ("model", "max_tokens", "temperature")}
        status, answer = self.completed({**common, **tops, "prompt": prompt})
        if status == 200:
            choice = answer["choices"][0]
            message = {"role": "assistant", "content": choice["text"]}
            answer = {"choices": [{"message": message, "logprobs": _listed(choice["logprobs"])}]}
        return status, answer

    def completed(self, body: Any) -> Answer:
        status, answer = super().completed(body)
        if status == 200 and (listed := answer["choices"][0]["logprobs"]) is not None:
            decode = self.replicas[0].tokenizer.decode
            tops = listed["top_logprobs"]
            listed["tokens"] = [decode([int(max(top, key=top.__getitem__))]) for top in tops]
            listed["top_logprobs"] = [{decode([int(id)]): value for id, value in top.items()} for top in tops]
        return status, answer


def _listed(logprobs: Any) -> Any:
    """Log-probabilities of a completion in the form of those of a conversation."""
    if logprobs is None:
        return None
    rows = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return {
        "content": [
            {
                "token": token,
                "logprob": own,
                "top_logprobs": [{"token": text, "logprob": value} for text, value in top.items()],
            }
            for token, own, top in rows
        ]
    }
