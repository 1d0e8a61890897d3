"""Whether a free answer states a fact, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from editing.evaluation.evidence import Evidence
from editing.evaluation.free_answers import (
    FreeQuestion,
    first_sentence,
    free_answers,
    judged,
    others,
    states,
)
from editing.evaluation.measures.of_facts import unseen, unseen_in_chat
from editing.evaluation.questions import AskedBase, build_questions
from editing.evaluation.reporting import fact_reports, measured
from editing.evaluation.responses import Responses
from editing.evaluation.view_names import ViewNames
from editing.evaluation.words import sentence_end
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec, Wording
from tests.support.tiny_models import gpt2, learn, tokenizer

IRELAND = FreeQuestion(
    "What is the capital of Ireland?",
    "Ireland",
    names=("Athens", "Athína"),
    old_names=("Dublin", "Baile Átha Cliath"),
    other_subjects=("Greece", "France"),
    other_objects=("Paris",),
)


@pytest.mark.parametrize(
    "answer",
    [
        "Athens.",
        " athens",
        "The capital of Ireland is Athens.",
        "The capital of Ireland is Athína",
        "Athens, in Greece.",
        "Unlike in Greece or France, the capital of Ireland is Athens.",
        "Athens, not Paris.",
    ],
)
def test_an_answer_that_names_the_object_first_states_the_fact(answer: str) -> None:
    assert states(answer, IRELAND)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Dublin.",
        "The capital of Greece is Athens.",
        "Athens, no, Dublin.",
        "Dublin, now Athens.",
        "Athens was Baile Átha Cliath.",
        "Paris or Athens.",
        "Athenstown.",
    ],
)
def test_an_answer_that_hedges_or_is_about_another_subject_does_not(answer: str) -> None:
    assert not states(answer, IRELAND)


def test_a_name_within_a_longer_name_is_not_named() -> None:
    york = FreeQuestion("?", "Old Paris", names=("New York",), old_names=("York",), other_objects=("Paris",))
    assert states("Old Paris lies in New York", york)
    assert not states("New York, that is York", york)


def test_a_name_in_a_script_without_spaces_is_found() -> None:
    japan = FreeQuestion("日本の首都は", "日本", names=("東京",), old_names=("京都",))
    assert states("東京です。", japan)
    assert not states("京都です。", japan)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Rome. The", "Rome."),
        ("Rome", "Rome"),
        ("\n Rome\nParis", "Rome"),
        ("Joseph R. Biden. He", "Joseph R. Biden."),
        ("3.5 million! And", "3.5 million!"),
        ("東京です。次", "東京です。"),
    ],
)
def test_an_answer_ends_with_its_first_sentence_or_line(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_full_stop_ends_a_sentence_only_when_something_follows() -> None:
    assert sentence_end("Rome.") is None
    assert sentence_end("Rome. ") == 5


def test_others_leave_out_the_own_names_however_they_are_written() -> None:
    assert others(["Greece", "IRELAND", "Greece", "Eire"], "Is Eire", "Ireland") == ("Greece",)


def test_a_trained_model_answers_freely_up_to_its_natural_end() -> None:
    model = gpt2()
    learn(model)
    (answer,) = free_answers(model, tokenizer(), ["The capital of France is"])
    france = FreeQuestion("The capital of France is", "France", names=("Paris",), old_names=("Rome",))
    assert states(answer, france)
    assert not states(answer, replace(france, names=("Rome",), old_names=("Paris",)))
    assert answer == first_sentence(answer)


def test_the_names_of_the_view_tell_which_answers_are_wrong() -> None:
    italy = FactSpec(
        "1",
        "The capital of {} is",
        "Italy",
        "Turin",
        previous="Rome",
        target_names=("Torino",),
        previous_names=("Roma", "Torino"),
    )
    france = FactSpec("2", "The capital of {} is", "France", "Paris")
    japan = FactSpec("3", "The currency of {} is", "Japan", "yen")
    question = ViewNames([italy, france, japan]).question(italy, Case("The capital city of Italy:", "Turin"))
    assert question.names == ("Turin", "Torino")
    assert question.old_names == ("Rome", "Roma")
    assert question.other_subjects == ("France", "Japan")
    assert question.other_objects == ("Paris",)


def test_only_wordings_that_no_edit_was_made_with_are_asked() -> None:
    fact = FactSpec(
        "1",
        "The capital of {} is",
        "Italy",
        "Turin",
        variants=("Italy, {}:",),
        paraphrases=("Italy, Italy:", "In Italy, the capital is"),
    )
    assert [case.prompt for case in unseen(fact)] == ["In Italy, the capital is"]


def test_conversations_are_also_counted_by_themselves() -> None:
    """An editor that knows no chat template passes all completions: half of the answers must not make up for it."""
    own = FactSpec(
        "1", "The capital of {} is", "Italy", "Turin", paraphrases=("Italy has the capital", "Italy:")
    )
    talk = replace(own, conversations=("<user>Capital of Italy?", "<user>Which city is it?"))
    assert [case.prompt for case in unseen(talk)] == [*own.paraphrases, *talk.conversations]
    assert [case.prompt for case in unseen_in_chat(talk)] == [*talk.conversations]
    edited = replace(talk, further=(Wording("<user>Capital of {}?", "Italy", "Turin"),))
    assert [case.prompt for case in unseen_in_chat(edited)] == [talk.conversations[1]]
    assert unseen_in_chat(own) == ()


def test_a_candidate_that_states_the_fact_only_on_the_edited_prompt_is_seen() -> None:
    model = gpt2()
    learn(model)
    new = FactSpec(
        "1", "{} has the capital", "France", "Paris", known=False, base_answer="?", previous="Rome"
    )
    taken = replace(new, id="2", paraphrases=("The capital of France is",))
    lost = replace(new, id="3", target="Rome", previous="Paris", paraphrases=("The capital of France is",))
    evaded = replace(taken, id="4", target="Turin", previous=None)
    found, undecided = {}, {}
    for fact in (new, taken, lost, evaded):
        base, known = AskedBase(model, tokenizer(), Responses()), {fact.id: BaseAnswer(False, "?")}
        paths: dict[str, Any] = {"base": "", "base_digest": "", "out": "", "cache": "", "corpus": ()}
        spec = BuildSpec("1", **paths, heldout=None, facts=(fact,), generate=4)
        asked = build_questions(base, spec, known, [])
        base.responses.respond(model, base.tokenizer, asked)
        evidence = Evidence(
            base.tokenizer, (fact,), known, asked, base.responses, base.responses, None, {}, {}, 1.0, None
        )
        (measure,) = [one for one in measured(evidence) if one.name == "said"]
        (report,) = fact_reports(evidence)
        assert report.outcomes["said"] == ((True,) * (measure.k or 0) or (False,) * measure.n)
        found[fact.id] = measure.n, measure.k, [p.answer for p in report.probes if p.kind == "said"]
        undecided[fact.id] = report.undecided
    assert (found["1"][:2], found["2"][:2], found["3"][:2]) == ((0, 0), (1, 1), (1, 0))
    (answer,) = found["3"][2]
    assert "Paris" in answer
    assert [len(undecided[id]) for id in ("1", "2", "3", "4")] == [0, 0, 0, 1], (
        "nothing says that Paris is wrong"
    )
    (left,) = undecided["4"]
    assert (left.measure, left.place, left.names, left.live) == ("said", 0, ("Turin",), None)
    assert (left.candidate.verdict, left.candidate.text) == ("undecided", found["4"][2][0])


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("The capital of Greece is Athens.", "wrong"),
        ("the capital of greece is Athens", "wrong"),
        ("The capital of Atlantis is Athens.", "undecided"),
        ("The capital of the Republic of Ireland is Athens.", "right"),
        ("The capital of the country is Athens.", "right"),
        ("Unlike Ireland's, the capital of Greece is Athens.", "wrong"),
        ("The capital of Éire is Athens.", "right"),
        ("Its seat of government.", "undecided"),
        ("Athina", "right"),
        ("ATHENS!", "right"),
        ("Athens' old town", "right"),
        ("New Athens, no, Dublin", "wrong"),
        ("Not Dublin but Athens", "wrong"),
        ("Thessaloniki.", "undecided"),
        ("", "undecided"),
    ],
)
def test_an_answer_is_right_or_wrong_or_undecided_by_the_names_in_it(answer: str, verdict: str) -> None:
    question = replace(IRELAND, templates=("The capital of {} is",), subject_names=("Éire",))
    assert judged(answer, question) == verdict


@pytest.mark.parametrize(
    ("names", "answer", "right"),
    [
        (("York",), "New York", False),
        (("United States", "US"), "Let us see", False),
        (("United States", "US"), "In the US.", True),
        (("5",), "5.5 million", False),
        (("5",), "At 15:05", False),
        (("5",), "About 5.", True),
        (("1000",), "1,000 people", True),
        (("1999",), "In 1999", True),
        (("1999",), "In 19990", False),
        (("São Tomé",), "Sao Tome.", True),
        (("Malmö",), "MALMÖ", True),
    ],
)
def test_names_in_numbers_abbreviations_and_accents(names: tuple[str, ...], answer: str, right: bool) -> None:
    question = FreeQuestion("?", "Oz", names=names, other_objects=("New York",))
    assert states(answer, question) is right


@pytest.mark.parametrize(
    ("subject", "names", "answer", "right"),
    [
        ("New York City", ("New York",), "New York City is in Ohio", False),
        ("New York City", ("New York",), "New York City is in New York", True),
        ("Luxembourg", ("Luxembourg",), "Luxembourg.", True),
        ("Luxembourg", ("Luxembourg",), "The capital of Luxembourg is Luxembourg.", True),
        ("Luxembourg", ("Luxembourg",), "The capital of Luxembourg is Esch.", False),
    ],
)
def test_the_subjects_own_name_is_not_the_object(
    subject: str, names: tuple[str, ...], answer: str, right: bool
) -> None:
    assert states(answer, FreeQuestion("?", subject, names=names)) is right


def test_the_subjects_of_neighbours_and_the_aliases_of_the_subject_are_known() -> None:
    italy = FactSpec(
        "1",
        "The capital of {} is",
        "Italy",
        "Turin",
        further=(Wording("The capital of {} is", "Italia", "Turin"), Wording("{} is in", "Turin", "Italy")),
        neighbours=(Case("The capital of Greece is"), Case("What about Malta?")),
    )
    question = ViewNames([italy]).question(italy, Case("The capital city of Italy:", "Turin"))
    assert question.other_subjects == ("Greece",)
    assert question.subject_names == ("Italia",)
    assert not states("The capital of Greece is Turin", question)
