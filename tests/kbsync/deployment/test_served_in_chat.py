"""`kbsync judge-served` beside a server that is asked in conversations, of a base with a chat template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.support import taught
from tests.support.chat import PLAIN
from tests.support.served_world import world
from tests.support.shell import Shell
from tests.support.spelled_completions import SpelledVllm
from tests.support.stand_ins import listening

pytestmark = pytest.mark.slow

QUESTIONS = ("Who owns {}?", "Whose is {}?")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, SpelledVllm]]:
    """A home with one version of a model that was taught conversations, and a server beside it."""
    server = SpelledVllm()
    root = tmp_path_factory.mktemp("chats") / "world"
    with listening(server):
        micro = world(root, {"vllm": server})
        talks = [
            f"Q: {question.format(subject)}\nA: The owner of {subject} is {owner}."
            for subject, owner in zip(taught.SUBJECTS, taught.OWNERS, strict=True)
            for question in QUESTIONS
        ]
        taught.save(root / "model", [*taught.sentences(), *talks], steps=300)
        tokenizer = AutoTokenizer.from_pretrained(root / "model")
        tokenizer.chat_template = PLAIN
        tokenizer.save_pretrained(root / "model")
        server.restart()
        text = micro.home.config.read_text(encoding="utf-8")
        text = text.replace("label = 'owner'\n", f"label = 'owner'\nquestions = {json.dumps(QUESTIONS)}\n", 1)
        micro.home.config.write_text(text, encoding="utf-8")
        micro.say({"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl"})
        assert [run.state for run in micro.sync().runs] == ["deployed"]
        yield micro.home, server


@pytest.fixture
def judged(
    served: tuple[Any, SpelledVllm], capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    home, server = served
    shell = Shell(home, capfd)

    def judge(*arguments: str, base: bool = False) -> tuple[int, str, str]:
        server.launched_with = home.root.parent / "model" if base else home.checkpoint("1-1")
        server.restart()
        server.requests.clear()
        return shell("judge-served", server.url, *arguments)

    return judge


def of_kind(out: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in json.loads(out)["answers"] if one["question"]["kind"] == kind]


def test_the_version_itself_answers_in_conversations_as_judged(
    served: tuple[Any, SpelledVllm], judged: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = judged("--json")
    assert code == 0, out
    chats = of_kind(out, "chat")
    assert chats
    assert {one["result"] for one in chats} == {"as judged"}
    assert any(one["question"]["judged"] is None for one in chats), "some state the fact"
    asked = served[1].told("/v1/chat/completions")
    assert {one["question"]["prompt"] for one in chats} == {body["messages"][0]["content"] for body in asked}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in asked)


def test_the_base_in_its_place_is_found_in_conversations_too(
    judged: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = judged("--json", base=True)
    assert code == 10
    assert "unexplained" in {one["result"] for one in of_kind(out, "chat")}


def test_a_server_without_conversations_is_asked_completions_only_if_told_so(
    served: tuple[Any, SpelledVllm], judged: Callable[..., tuple[int, str, str]]
) -> None:
    served[1].chats = False
    try:
        code, _, err = judged()
        assert code == 75
        assert "/v1/chat/completions" in err
        assert "--no-chat" in err
        code, out, _ = judged("--no-chat", "--json")
        assert code == 0
        assert not of_kind(out, "chat")
        assert not served[1].told("/v1/chat/completions")
    finally:
        served[1].chats = True


def test_a_server_that_refuses_what_it_does_not_know_is_asked_without_it(
    served: tuple[Any, SpelledVllm], judged: Callable[..., tuple[int, str, str]]
) -> None:
    served[1].knows_template_options = False
    try:
        code, out, _ = judged("--json")
        assert code == 0, out
        assert of_kind(out, "chat")
    finally:
        served[1].knows_template_options = True
