"""Which served answers depart from the judged ones, and which of them rounding explains."""

from __future__ import annotations

import pytest

from editing.cost import Cost
from editing.spec import BuildReport, BuildSpec, Case, FactReport, FactSpec, Measure, ProbeReport
from kbsync.deployment import departures
from kbsync.deployment.departures import ServedAnswer, ServedToken, compare, explained_by
from kbsync.deployment.exam_sample import ExamQuestion, exam, sample

ALLOWED = 0.2
OWN = ExamQuestion("own", "1", "The owner of Blue House is", "Dora Smith")
SAID = ExamQuestion("said", "1", "Blue House belongs to", None)


def served(*tokens: tuple[str, float, dict[str, float]]) -> ServedAnswer:
    return ServedAnswer("".join(text for text, _, _ in tokens), tuple(ServedToken(*one) for one in tokens))


def result(question: ExamQuestion, answer: ServedAnswer) -> str:
    return compare(question, answer, ALLOWED, lambda text: "Dora" in text).result


def test_an_answer_that_goes_on_after_the_judged_one_is_as_judged() -> None:
    assert result(OWN, ServedAnswer(" dora  Smith, and so on")) == "as judged"
    assert result(SAID, ServedAnswer(" Dora Smith.")) == "as judged"


@pytest.mark.parametrize(("trails", "expected"), [(0.1, "rounding"), (0.3, "unexplained")])
def test_rounding_explains_a_first_other_token_that_leads_the_judged_one_by_little(
    trails: float, expected: str
) -> None:
    first = (" Dora", -0.1, {" Dora": -0.1, " Anna": -3.0})
    other = (" Jones", -0.7, {" Jones": -0.7, " Smi": -0.7 - trails, " S": -4.0})
    assert result(OWN, served(first, other)) == expected


def test_a_judged_token_that_is_not_among_the_likeliest_is_not_explained() -> None:
    assert result(OWN, served((" Anna", -0.7, {" Anna": -0.7, " Carl": -0.71}))) == "unexplained"
    assert result(OWN, ServedAnswer(" Anna")) == "unexplained", "no log-probabilities show anything"
    assert result(OWN, served((" Dora", -0.1, {" Dora": -0.1}))) == "unexplained", "it ended too early"


def test_a_token_that_is_not_the_likeliest_was_not_chosen_by_rounding() -> None:
    penalised = served((" Anna", -0.9, {" Dora": -0.8, " Anna": -0.9}))
    assert result(OWN, penalised) == result(SAID, penalised) == "unexplained"


def test_a_space_may_be_a_token_of_its_own() -> None:
    year = ExamQuestion("own", "1", "It was built in", "the 1980s")
    first = (" the", -0.1, {" the": -0.1})
    assert result(year, served(first, (" sea", -0.8, {" sea": -0.8, " ": -0.9, "\n": -0.85}))) == "rounding"
    assert result(year, served(first, (" sea", -0.8, {" sea": -0.8, "\n": -0.9}))) == "unexplained"


def test_the_judged_lead_counts_where_the_report_has_it() -> None:
    sure, torn = (ExamQuestion("own", "1", "Who?", "Dora", probability) for probability in (0.9, 0.51))
    turned = served((" Anna", -0.6, {" Anna": -0.6, " Dora": -0.65}))
    assert result(sure, turned) == "unexplained", "rounding would have to undo a lead of 2.2 nats"
    assert result(torn, turned) == "rounding"


def test_a_free_answer_is_explained_where_one_of_its_tokens_could_have_been_another() -> None:
    assert result(SAID, served((" Anna", -0.6, {" Anna": -0.6, " Dora": -0.7}))) == "rounding"
    assert result(SAID, served((" Anna", -0.1, {" Anna": -0.1, " Dora": -2.5}))) == "unexplained"


def test_fewer_bits_explain_more_and_nothing_explains_a_clear_lead() -> None:
    from editing.secret_probes import SURE

    measured = {"bfloat16": 0.005, "float16": 0.0006}
    assert explained_by(measured, 16) == pytest.approx(SURE * 0.005)
    assert explained_by(measured, 8) == pytest.approx(4 * SURE * 0.005)
    assert explained_by(measured, 8) < explained_by(measured, 6) < explained_by(measured, 4)
    assert explained_by(measured, 2) == explained_by({}, 16) == departures.MOST


def test_the_exam_has_every_question_whose_judged_answer_is_known() -> None:
    facts = (
        FactSpec(
            "1", "The owner of {} is", "Blue House", "Dora", paraphrases=("Blue House belongs to", "Owner:")
        ),
        FactSpec("2", "The owner of {} is", "Red Boat", "Emil", paraphrases=("Red Boat belongs to",)),
    )
    neighbour = ProbeReport("neighbour", "The owner of Old Mill is", "Carl", "Anna", False)
    drawn = ProbeReport("generation", "The owner of Red Boat is", "Emil", "Bob", False)
    reports = (
        FactReport(
            "1", False, "", "Dora", True, outcomes={"paraphrase": (True, False), "said": (True, True)}
        ),
        FactReport("2", False, "", "Bob", False, probes=(neighbour, drawn)),
    )
    spec = BuildSpec("1", "b", "d", "o", "c", (), None, facts, canaries=(Case("France:", "Paris"), Case("x")))
    report = BuildReport("1", "d", "o", "d", reports, (Measure("canaries", 1.0, 2, 2),), Cost(), {})
    assert {(one.kind, one.prompt, one.judged) for one in exam(spec, report)} == {
        ("own", "The owner of Blue House is", "Dora"),
        ("own", "The owner of Red Boat is", "Bob"),
        ("paraphrase", "Blue House belongs to", "Dora"),
        ("said", "Blue House belongs to", None),
        ("said", "Owner:", None),
        ("neighbour", "The owner of Old Mill is", "Anna"),
        ("canary", "France:", "Paris"),
    }


def test_a_sample_takes_all_kinds_in_turn_and_is_the_same_for_the_same_seed() -> None:
    questions = [ExamQuestion("own", str(n), f"Own {n}", "A") for n in range(20)]
    questions += [ExamQuestion("said", "1", "Said 1", None), ExamQuestion("neighbour", "1", "Next 1", "B")]
    drawn = sample(questions, 6, "seed")
    assert [one.kind for one in drawn].count("own") == 4
    assert {one.kind for one in drawn} == {"own", "said", "neighbour"}
    assert sample(questions[::-1], 6, "seed") == drawn != sample(questions, 6, "another")
    assert len(sample(questions, 100, "seed")) == 22
