"""Where a subject ends and a target begins, for every kind of tokenizer and script."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from editing.errors import RequestError
from editing.model.tokens import Located, Readable, continued, locate, passage, try_locate
from editing.requests import EditRequest
from tests.support.zoo import TOKENIZERS, tokenizer

SUBJECTS = (
    "France",
    "São Paulo",
    "Zu\u0308rich",
    "東京",
    "القاهرة",
    "D.C.",
    "e",
    "O'Neil",
    "Ludwig van Beethoven",
    "🏛 Rome",
    "ירושלים",
    "हिन्दी",
    "e\u0301",
)
PROMPTS = (
    "{}",
    "The capital of {} is",
    "{}'s capital is",
    "In {}, not in {subject}, the",
    "({})",
    "日本の{}は",
)
LOSSLESS = ("byte-bpe", "byte-bpe-prefix-space", "sentencepiece-bos")


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    prompt=st.sampled_from(PROMPTS),
    subject=st.sampled_from(SUBJECTS) | st.text(st.characters(categories=("L", "N")), min_size=1, max_size=6),
    target=st.sampled_from(("Rome", "New York", "東京", "Ōsaka, Japan")),
)
def test_the_looked_up_token_ends_the_subject_and_the_rest_spells_the_target(
    kind: str, prompt: str, subject: str, target: str
) -> None:
    chosen = tokenizer(kind)
    template = prompt.replace("{subject}", subject)
    request = EditRequest("1", template, subject, target)
    (found,) = locate(chosen, [passage(request)])
    assert found.subject < found.target < len(found.ids)
    if kind not in LOSSLESS:
        return
    # Read through the subject's last token: all of the subject is there; one token less: not yet.
    end = template.index("{}") + len(subject)
    through = chosen.decode(found.ids[: found.subject + 1], skip_special_tokens=True).lstrip()
    short = chosen.decode(found.ids[: found.subject], skip_special_tokens=True).lstrip()
    text = request.rendered.lstrip()
    assert through.startswith(text[: end - (len(request.rendered) - len(text))])
    assert not short.startswith(text[: end - (len(request.rendered) - len(text))])
    spelled = chosen.decode(found.ids, skip_special_tokens=True).lstrip()
    assert spelled == continued(request.rendered, target).lstrip()
    # A token may hold the prompt's last byte and the target's first: then the target begins in it.
    assert chosen.decode(found.ids[found.target :], skip_special_tokens=True).strip().endswith(target)
    if chosen.decode([found.ids[found.target]]).strip():  # else the space before it is a token of its own
        assert not chosen.decode(found.ids[found.target + 1 :]).strip().endswith(target)


def test_of_two_occurrences_the_braces_say_which() -> None:
    chosen = tokenizer("byte-bpe")
    first, second = locate(
        chosen,
        [
            passage(EditRequest("1", "{}, not Rome, is", "Rome", "old"), target=False),
            passage(EditRequest("2", "Rome, not {}, is", "Rome", "old"), target=False),
        ],
    )
    assert first.ids == second.ids
    assert first.subject < second.subject


def test_an_appended_eos_and_a_leading_bos_are_what_running_text_has() -> None:
    (found,) = locate(tokenizer("metaspace-bos-eos"), [passage(EditRequest("1", "{} is", "Rome", "old"))])
    assert found.ids[0] == 0
    assert found.ids[-1] != 1


@pytest.mark.parametrize(
    ("prompt", "target", "text"),
    [
        ("The capital is", "Rome", "The capital is Rome"),
        ("The capital is ", "Rome", "The capital is Rome"),
        ("The capital (", "Rome", "The capital (Rome"),
        ("日本の首都は", "東京", "日本の首都は東京"),
        ("日本の首都は", "Tokyo", "日本の首都は Tokyo"),
        ("עיר הבירה היא", "ירושלים", "עיר הבירה היא ירושלים"),
    ],
)
def test_a_target_follows_its_prompt_as_in_running_text(prompt: str, target: str, text: str) -> None:
    assert continued(prompt, target) == text


@pytest.mark.parametrize(
    ("prompt", "subject", "target"),
    [
        ("no place for it", "Rome", "old"),
        ("{} is", "", "old"),
        ("{} is", "Rome", " "),
    ],
)
def test_a_request_without_subject_place_or_target_is_refused_by_name(
    prompt: str, subject: str, target: str
) -> None:
    with pytest.raises(RequestError, match="'17'"):
        passage(EditRequest("17", prompt, subject, target))


def test_a_token_without_an_embedding_fails_its_own_text_alone() -> None:
    own = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS["byte-bpe"](), bos_token="<s>", eos_token="</s>"
    )
    size = len(own)
    own.add_tokens(["<image>"])
    requests = [
        EditRequest("plain", "{} lives in", "Ludwig", "Paris"),
        EditRequest("image", "As <image> shows, {} lives in", "Ludwig", "Paris"),
    ]
    found = try_locate(own, [passage(request) for request in requests], limit=Readable(128, size))
    assert isinstance(found[0], Located)
    assert isinstance(found[1], RequestError)
    assert f"token {size}, the model's embedding {size} rows" in str(found[1])
