"""A chat template is a program of whoever made the model: it is bounded, and its errors cost only the template."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from editing.errors import ModelError
from editing.model.chat import asked, opening
from editing.model.template_check import flaw
from tests.support.chat import CHATML


class Tokenizer(SimpleNamespace):
    """What the rendering needs of one."""

    bos_token = None
    name_or_path = "/models/strange"
    special_tokens_map: dict[str, str] = {}  # noqa: RUF012

    def apply_chat_template(self, turns: object, **options: object) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        del options["tokenize"]
        rendered, _ = render_jinja_template(
            conversations=[turns], chat_template=self.chat_template, **options
        )
        return str(rendered[0])


def test_a_template_that_ends_is_used() -> None:
    assert flaw(CHATML, {}) == ""
    assert asked(Tokenizer(chat_template=CHATML), "Who?").endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('only with tools') }}",
        "{% import 'os' as os %}{{ os.system('true') }}",
        "{{ 1 // 0 }}",
        "{% for %}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_raises_is_no_template(template: str) -> None:
    tokenizer = Tokenizer(chat_template=template)
    assert opening(tokenizer) is None
    with pytest.raises(ValueError, match="no chat template that can put"):
        asked(tokenizer, "Who?")


@pytest.mark.parametrize("template", ["{{ 'a' * 20000000000 }}", "{{ 'a'.center(20000000000) }}"])
def test_a_template_that_takes_all_memory_is_refused(template: str) -> None:
    with pytest.raises(ModelError, match=r"/models/strange is refused: .*2 GiB"):
        opening(Tokenizer(chat_template=template))


@pytest.mark.parametrize("when", ["enable_thinking", "messages[0].role == 'system'", "messages | length > 1"])
def test_a_template_is_tried_with_a_system_message_thinking_and_an_answer_too(when: str) -> None:
    template = "{% if " + when + " %}{{ 'a' * 20000000000 }}{% endif %}" + CHATML
    with pytest.raises(ModelError, match="2 GiB"):
        opening(Tokenizer(chat_template=template))


@pytest.mark.slow
def test_a_template_that_does_not_end_is_refused() -> None:
    loops = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    with pytest.raises(ModelError, match="more than 5 s"):
        opening(Tokenizer(chat_template=loops))
