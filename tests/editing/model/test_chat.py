"""Rendering questions with a chat template: system messages, and the token that ends a turn."""

from __future__ import annotations

from typing import Any

import pytest

from editing.model.chat import asked, end_of_turn, takes_system
from tests.support import tiny_models
from tests.support.chat import CHATML

SYSTEM = "You are terse."
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}" + CHATML
)
IGNORING = CHATML.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)


def tokenizer(template: str | None, *control: str) -> Any:
    found = tiny_models.tokenizer()
    found.add_special_tokens({"additional_special_tokens": list(control)})
    found.chat_template = template
    return found


@pytest.mark.parametrize(
    ("template", "taken"), [(CHATML, True), (REFUSING, False), (IGNORING, False), (None, False)]
)
def test_a_system_message_is_put_only_by_a_template_that_takes_one(template: str | None, taken: bool) -> None:
    own = tokenizer(template)
    assert takes_system(own, SYSTEM) == taken
    assert not takes_system(own, "")
    if taken:
        assert (
            asked(own, "Who?", system=SYSTEM)
            == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{asked(own, 'Who?')}"
        )
    else:
        with pytest.raises(ValueError, match="no chat template that can put 'Who\\?'"):
            asked(own, "Who?", system=SYSTEM)


def test_the_token_that_ends_a_turn_is_the_one_that_the_template_writes() -> None:
    own = tokenizer(CHATML, "<|im_end|>")
    assert end_of_turn(own) == own.convert_tokens_to_ids("<|im_end|>") != own.eos_token_id
    spelled = tokenizer(CHATML)
    assert end_of_turn(spelled) == spelled.eos_token_id, "several ordinary tokens spell the end: EOS is used"
    assert end_of_turn(tokenizer(None)) == spelled.eos_token_id
