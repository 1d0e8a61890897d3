"""A tokenizer's chat template, as text: the opening of a conversation, and a rendered question.

Texts are returned without the BOS token that the tokenizer adds to every text, so that they are tokenised
like any other text.
"""

from __future__ import annotations

from typing import Any

from editing.errors import ModelError
from editing.model import template_check
from editing.model.tokens import continued
from editing.special_tokens import is_control

_MARK = "\u2060question\u2060"
"""Placeholder for the question while the template is rendered; no template contains it."""


def opening(tokenizer: Any) -> str | None:
    """The text before the user's first words; None if there is no template, or none that inserts them
    unchanged."""
    rendered = _rendered(tokenizer, _MARK, answer=False)
    if rendered is None or rendered.count(_MARK) != 1:
        return None
    return rendered.partition(_MARK)[0]


def asked(tokenizer: Any, question: str, *, thinking: bool = False, system: str = "") -> str:
    """`question` as the user's only turn, up to where the answer begins or, with `thinking`, the thought before it.

    `system`: the system message before it; empty: none, so that the template may put its own.
    Raises ValueError without a template that inserts both unchanged.
    """
    rendered = _rendered(tokenizer, question, answer=True, thinking=thinking, system=system)
    if rendered is None or question not in rendered or system not in rendered:
        raise ValueError(f"the tokenizer has no chat template that can put {question!r}")
    return rendered


def takes_system(tokenizer: Any, system: str) -> bool:
    """Whether the chat template puts this system message before a question."""
    rendered = _rendered(tokenizer, _MARK, answer=True, system=system)
    return rendered is not None and bool(system) and system in rendered.partition(_MARK)[0]


def end_of_turn(tokenizer: Any) -> int | None:
    """Id of the control token with which the chat template ends an answer; EOS if it has none of its own."""
    answered = _rendered(tokenizer, _MARK, answer=False, role="assistant")
    after = answered.partition(_MARK)[2].lstrip() if answered and answered.count(_MARK) == 1 else ""
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    control = ids and is_control(
        tokenizer.convert_ids_to_tokens(ids[0]), special=ids[0] in tokenizer.all_special_ids
    )
    return int(ids[0]) if control else tokenizer.eos_token_id


def switches_thinking(tokenizer: Any) -> bool:
    """Whether the chat template has a switch for thinking."""
    return _rendered(tokenizer, _MARK, answer=True) != _rendered(tokenizer, _MARK, answer=True, thinking=True)


def _rendered(
    tokenizer: Any,
    content: str,
    *,
    answer: bool,
    thinking: bool = False,
    system: str = "",
    role: str = "user",
) -> str | None:
    """The conversation of one turn, after a system message if there is one, and after a question if it is an answer.

    None if there is no template that can render it.

    Raises ModelError for a template that does not end in bounded time and memory.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    if why := template_check.flaw(str(template), tokenizer.special_tokens_map):
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path or 'the tokenizer'} is refused: {why}. "
            "Correct or remove it in a copy of the model"
        )
    turns = [{"role": "system", "content": system}] if system else []
    turns += [{"role": "user", "content": "?"}] if role == "assistant" else []
    turns.append({"role": role, "content": content})
    try:
        text = str(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=answer, enable_thinking=thinking
            )
        )
    except Exception:  # noqa: BLE001  (a template is the model's own program: it may raise anything)
        return None
    bos = tokenizer.bos_token
    return text.removeprefix(bos) if bos and _puts_bos(tokenizer) else text


def _puts_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer begins every text with its BOS token."""
    return list(tokenizer("a")["input_ids"][:1]) == [tokenizer.bos_token_id]


def statement(prompt: str, target: str) -> str:
    """A rendered prompt and its target as a sentence, such as `The capital of France is Paris.`"""
    text = continued(prompt, target)
    return text if text[-1] in ".!?。" else f"{text}."
