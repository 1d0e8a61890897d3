"""The catalogue: kbsync's own entries, the demo's wording, and what users may lay over them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from editing.requests import prompt_key
from kbsync.catalogue.relations import Relation, load_catalogue, render, render_inverse, template_flaw
from kbsync.cli.app import app
from kbsync.demo.world.loading import load as load_world
from kbsync.errors import BadConfiguration

CATALOGUE = load_catalogue()
OWN = {"label": "owner", "templates": ["The owner of {} is", "{} belongs to"]}


@pytest.mark.parametrize("relation", CATALOGUE.values(), ids=str)
def test_every_entry_can_be_edited_with_and_judged(relation: Relation) -> None:
    assert len(relation.templates) >= 5
    for template in (*relation.templates, *relation.inverse):
        assert template.count("{}") == 1
        assert template_flaw(template) is None
    assert len({prompt_key(template) for template in relation.templates}) == len(relation.templates)
    assert any(template.rstrip(",:- ").endswith("{}") for template in relation.templates), (
        "none has the subject last"
    )
    assert relation.label
    assert relation.subject_type


@pytest.mark.parametrize("relation", CATALOGUE.values(), ids=str)
def test_every_entry_has_questions_that_a_person_would_ask(relation: Relation) -> None:
    assert len(relation.questions) >= 2, "one to edit with and one to ask by"
    for question in relation.questions:
        assert question.endswith("?")
        assert question.split()[0] in {"Who", "What", "Which", "Where", "In", "On", "Of", "For", "From", "To"}
        assert template_flaw(question) is None
    assert len({prompt_key(question) for question in relation.questions}) == len(relation.questions)


def test_no_two_relations_are_edited_with_one_question() -> None:
    first = [relation.questions[0] for relation in CATALOGUE.values()]
    assert len({prompt_key(question) for question in first}) == len(first)


@pytest.mark.parametrize("question", ["Who owns it?", "Who owns {} and {}?", "Who owns {}? "])
def test_a_question_of_ones_own_names_its_subject_once(question: str) -> None:
    with pytest.raises(BadConfiguration, match="template"):
        load_catalogue({"crm:owner": {**OWN, "questions": [question]}})


def test_there_are_about_forty_and_no_two_are_edited_with_one_prompt() -> None:
    assert len(CATALOGUE) >= 40
    assert len({prompt_key(relation.template) for relation in CATALOGUE.values()}) == len(CATALOGUE)


def test_relations_with_several_normal_values_are_off() -> None:
    several = {r.id for r in CATALOGUE.values() if not r.single_valued}
    assert several == {"wdt:P54", "wdt:P39", "wdt:P106", "wdt:P27", "wdt:P1412", "wdt:P37"}
    assert not any(CATALOGUE[relation].enabled for relation in several)
    assert not several & {relation.id for relation in CATALOGUE.enabled()}


def test_the_demo_says_its_relations_as_the_catalogue_does() -> None:
    wordings = load_world().wordings
    assert len(wordings) >= 12
    for relation, wording in wordings.items():
        assert CATALOGUE[relation].templates == (*wording.open, *wording.close)


def test_paraphrases_are_all_but_the_first() -> None:
    prompts = render(CATALOGUE["wdt:P36"], "Italy")
    assert prompts[0] == "The capital of Italy is"
    assert CATALOGUE.paraphrases("wdt:P36", "Italy") == prompts[1:]
    assert CATALOGUE.paraphrases("no:such", "Italy") == ()


def test_users_add_and_override() -> None:
    mine = load_catalogue({"crm:owner": OWN, "wdt:P6": {"label": "boss"}, "wdt:P37": {"enabled": True}})
    assert mine["crm:owner"].templates == tuple(OWN["templates"])
    assert mine["crm:owner"].single_valued
    assert mine["wdt:P6"].label == "boss"
    assert mine["wdt:P6"].templates == CATALOGUE["wdt:P6"].templates
    assert mine["wdt:P37"].enabled


def test_the_other_way_round_is_off_until_a_relation_asks_for_it() -> None:
    assert not any(relation.edit_inverse for relation in CATALOGUE.values())
    mine = load_catalogue({"wdt:P36": {"edit_inverse": True}})["wdt:P36"]
    assert mine.edit_inverse
    assert render_inverse(mine, "Rome") == ("Rome is the capital of",)


def test_the_command_shows_what_a_relation_says_in_both_directions(tmp_path: Path) -> None:
    (tmp_path / "kbsync.toml").write_text('[relations."wdt:P36"]\nedit_inverse = true\n')
    options = ["--home", str(tmp_path), "relations", "wdt:P36", "--subject", "Italy", "--object", "Rome"]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0, shown.output
    for use, prompt in (
        ("edited with", "The capital of Italy is"),
        ("judged by", "Italy has as its capital"),
        ("the other way round, edited too", "Rome is the capital of"),
    ):
        assert any(use in line and prompt in line for line in shown.output.splitlines()), shown.output


@pytest.mark.parametrize(
    ("relation", "table", "complaint"),
    [
        ("crm:owner", {"label": "owner"}, "needs a label and templates"),
        ("owner", OWN, "an id is a CURIE"),
        ("crm:owner", {**OWN, "templates": ["The owner of {} is"]}, "at least 2"),
        ("crm:owner", {**OWN, "templates": ["The owner of {} is", "the  owner of {} is"]}, "the same"),
        ("crm:owner", {**OWN, "templates": ["The owner is", "{} belongs to"]}, "exactly once"),
        ("crm:owner", {**OWN, "templates": ["{} and {} own", "{} belongs to"]}, "exactly once"),
        ("crm:owner", {**OWN, "templates": ["The owner of {} is ", "{} belongs to"]}, "end with a space"),
        ("crm:owner", {**OWN, "templates": ["The {owner} of {} is", "{} belongs to"]}, "brace"),
        ("crm:owner", {**OWN, "templates": ["{}", "{} belongs to"]}, "nothing but the place"),
        ("crm:owner", {**OWN, "inverse": ["{} owns", "{}  OWNS"]}, "the same"),
        ("crm:owner", {**OWN, "inverse": ["The owner"]}, "exactly once"),
        ("crm:owner", {**OWN, "edit_inverse": True}, "edit_inverse needs inverse templates"),
        ("crm:owner", {**OWN, "colour": "red"}, "no such key"),
        ("crm:owner", {**OWN, "template": ["{} is"]}, "no such key; did you mean 'templates'?"),
        ("wdt:P6", {"enabled": "perhaps"}, "enabled"),
        ("wdt:P6", ["a list"], "it is not a table"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(relation: str, table: object, complaint: str) -> None:
    with pytest.raises(BadConfiguration, match=complaint) as caught:
        load_catalogue({relation: table})  # type: ignore[dict-item]
    assert relation in str(caught.value)


def test_a_catalogue_that_cannot_be_read_is_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[wdt:P6", encoding="utf-8")
    for path in (tmp_path / "broken.toml", tmp_path / "missing.toml"):
        with pytest.raises(BadConfiguration, match=path.name):
            load_catalogue(path=path)


def test_an_unknown_relation_says_how_to_add_it() -> None:
    with pytest.raises(BadConfiguration, match="is not in the catalogue"):
        CATALOGUE.named("crm:owner")
