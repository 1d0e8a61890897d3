"""The token that ends an answer as part of a target, so that an edited fact is stated and nothing after it.

A question that is rendered with the chat template is answered by a sentence, after which the turn ends; a completion
ends with EOS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from editing.errors import RequestError
from editing.model.chat import end_of_turn, opening
from editing.requests import EditRequest


def with_ends(
    tokenizer: Any, requests: Sequence[EditRequest], which: Literal["none", "questions", "all"]
) -> list[EditRequest]:
    """`requests`, those that `which` names with the token that ends their answer.

    Raises RequestError if the tokenizer has no such token.
    """
    if which == "none":
        return list(requests)
    before, turn = opening(tokenizer), end_of_turn(tokenizer)
    found = []
    for request in requests:
        question = bool(before) and request.prompt.startswith(str(before))
        end = turn if question else tokenizer.eos_token_id
        if (question or which == "all") and end is None:
            raise RequestError(
                'the tokenizer has no token that ends an answer: set `end_token = "none"` in [edit], or its EOS token'
            )
        found.append(replace(request, end=end) if question or which == "all" else request)
    return found
