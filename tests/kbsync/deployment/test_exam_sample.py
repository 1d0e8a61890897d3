"""Which questions of a round a server is asked in a conversation, and what was judged of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing.cost import Cost
from editing.settings import EditSettings
from editing.spec import BuildReport, FactReport, FactSpec, ProbeReport
from kbsync.deployment.exam_sample import ExamQuestion, exam
from tests.support.specs import spec_of

ITALY = FactSpec(
    "italy",
    "The capital of {} is",
    "Italy",
    "Paris",
    questions=("What is the capital of {}?",),
    unseen_questions=("Which city governs {}?", "Where does {} have its government?", "And {}?"),
    paraphrases=("Italy's capital is",),
)
GOVERNS, GOVERNMENT, EDITED = (
    "Which city governs Italy?",
    "Where does Italy have its government?",
    "What is the capital of Italy?",
)


def chats(
    fact: FactSpec = ITALY, *, chat: bool = True, edited: bool = True, **report: object
) -> list[ExamQuestion]:
    spec = spec_of(fact, settings=EditSettings(chat=edited))
    found = FactReport(fact.id, False, "", "", True, **report)  # type: ignore[arg-type]
    whole = BuildReport("1", "", "", "", (found,), (), Cost(), {})
    return [one for one in exam(spec, whole, chat=chat) if one.kind == "chat"]


def test_a_conversation_that_stated_the_fact_has_to_state_it() -> None:
    expected = [ExamQuestion("chat", "italy", question, None) for question in (GOVERNS, GOVERNMENT)]
    assert chats(outcomes={"said_in_chat": (True, True)}) == expected
    assert chats(outcomes={"said_in_chat": (True, True, False, False)}) == expected, (
        "a system message, a thought"
    )
    assert chats(outcomes={"said_in_chat": (True, True)}, chat=False) == []


def test_without_the_question_among_the_edits_it_is_asked_first() -> None:
    found = chats(edited=False, outcomes={"said_in_chat": (True, True)})
    assert [one.prompt for one in found] == [EDITED, GOVERNS]


def test_another_answer_has_to_be_the_one_that_was_judged() -> None:
    def probe(prompt: str, answer: str, *, passed: bool = False, kind: str = "said") -> ProbeReport:
        return ProbeReport(kind, prompt, "Paris", answer, passed)

    probes = (
        probe("Italy's capital is", "Rome."),
        probe(f"<user>{GOVERNS}<assistant>", "Rome does.", kind="neighbour"),
        probe(f"<user>{GOVERNS}<assistant>", "It is Rome."),
        probe(f"<system>Be kind.<user>{GOVERNS}<assistant>", "Milan."),
    )
    found = chats(outcomes={"said": (False, False, True), "said_in_chat": (False, True)}, probes=probes)
    assert found == [
        ExamQuestion("chat", "italy", GOVERNS, "It is Rome."),
        ExamQuestion("chat", "italy", GOVERNMENT, None),
    ]
    assert chats(outcomes={"said_in_chat": (False, True)}) == found[1:], "its text is not in the report"


def test_what_live_states_is_asked_where_it_was_examined() -> None:
    found = chats(outcomes={"old_said": (False, True, True)})
    assert [one.prompt for one in found] == [GOVERNS, GOVERNMENT], "the completion came first"


@pytest.mark.parametrize(
    "outcomes", [{}, {"said": (True,)}, {"said_in_chat": (True,)}, {"old_said": (True, True)}]
)
def test_nothing_is_asked_of_which_it_is_not_known_what_was_judged(
    outcomes: dict[str, tuple[bool, ...]],
) -> None:
    assert chats(outcomes=outcomes) == []
    assert chats(replace(ITALY, unseen_questions=()), outcomes=outcomes) == []
