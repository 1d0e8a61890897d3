"""The three small models of `benchmarks/calibrate.py`, the grid that settings are compared with, and the tables."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import calibrate_tables, four_models
from benchmarks.calibrate_models import Named
from benchmarks.four_models import RECIPES, Recipe
from benchmarks.four_worlds import LISTS, Part
from benchmarks.hand_search import Grid, reaches, scaled, solves, windows
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import SearchPoint
from editing.calibration.statements import from_records
from editing.datasets import read_records
from editing.model.architectures import Parts
from editing.model.chat import opening
from editing.settings import EditSettings

LEADS = tuple(lead.split("{}")[0] for lead in LISTS)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_facts_file_holds_the_facts_of_some_subjects_with_its_wordings_and_questions(
    recipe: Recipe, tmp_path: Path
) -> None:
    file = tmp_path / "facts.jsonl"
    recipe.world.write(file)
    found = from_records(read_records(file))
    assert [(one.subject, one.object) for one in found] == [(s, o) for s, _, o in recipe.world.facts()[:320]]
    assert len({one.subject for one in found}) == 80
    assert len({(one.subject, one.relation) for one in found}) == len(found) == 320
    for one, (_, relation, _) in zip(found, recipe.world.asked(), strict=True):
        assert one.templates == recipe.world.relations[relation].templates
        assert one.question == recipe.world.relations[relation].questions[0]


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_reads_its_text_as_its_kind_does(name: str, tmp_path: Path) -> None:
    four_models.main([name, "--out", str(tmp_path), "--steps", "2"])
    plan = Named(name, tmp_path / name, tmp_path / f"{name}.jsonl").plan(_home(tmp_path), "cpu", 1.0)
    tokenizer = plan.base.tokenizer
    assert len(plan.statements) == 320
    text = "The holds of a ship are full."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert (ids[0] == tokenizer.bos_token_id) is (name == "llama")
    assert (opening(tokenizer) is not None) is RECIPES[name].chat
    for one in plan.statements:
        said = tokenizer(f"{one.prompt} {one.object}")["input_ids"]
        assert tokenizer(f"{one.prompt} {one.object}.")["input_ids"][: len(said)] == said
    if name == "llama":
        snowman = tokenizer("☃", add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(snowman)[-3:] == ["<0xE2>", "<0x98>", "<0x83>"]


def _home(root: Path) -> Any:
    from kbsync.home import Home

    return Home(root / "home")


def test_half_of_the_documents_of_a_chat_model_are_conversations_with_true_answers() -> None:
    recipe = RECIPES["qwen3"]
    documents = list(islice(recipe.documents(random.Random(0)), 20))
    talks = [text for text, _ in documents if text.startswith("<|im_start|>user\n")]
    assert len(talks) == 10
    true = {f"{recipe.world.relations[r].templates[0].format(s)} {o}." for s, r, o in recipe.world.facts()}
    for text in talks:
        assert text.split("assistant\n")[1].split("<|im_end|>")[0] in true


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_objects_are_found_where_they_stand(recipe: Recipe) -> None:
    objects = {object_ for relation in recipe.world.relations.values() for object_ in relation.objects}
    subjects = {subject for subject, _, _ in recipe.world.facts()}
    found = [
        (text, *span) for text, spans in islice(recipe.documents(random.Random(0)), 50) for span in spans
    ]
    assert len(found) > 50
    for text, start, stop, listed in found:
        assert text[start:stop] in objects
        assert text[:start].rstrip().endswith(tuple(subjects)) is listed


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_the_first_part_of_a_training_states_facts_as_lists_only(recipe: Recipe) -> None:
    documents = islice(recipe.documents(random.Random(0), Part.LISTS), 50)
    marks = [listed for text, spans in documents for _, _, listed in spans]
    assert len(marks) > 50
    assert all(marks)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_before_the_last_part_no_sentence_or_conversation_states_what_is_asked(recipe: Recipe) -> None:
    asked = {subject for subject, _, _ in recipe.world.asked()}
    others = {subject for subject, _, _ in recipe.world.facts()} - asked
    assert len(others) == 120
    documents = islice(recipe.documents(random.Random(0), Part.OTHERS), 300)
    stated = [text for text, spans in documents if any(not listed for _, _, listed in spans)]
    talks = [text for text in stated if "assistant" in text]
    assert any(subject in text for subject in others for text in stated)
    assert not any(f" {subject} " in text for subject in asked for text in talks)
    for text in stated:
        for sentence in text.split(". "):
            if not sentence.startswith(LEADS):
                assert not any(f" {subject} " in f" {sentence} " for subject in asked)


def _parts(blocks: int) -> Parts:
    return cast(Parts, SimpleNamespace(blocks=[None] * blocks, editable=range(blocks)))


def test_the_grid_tries_layers_that_something_above_them_reads() -> None:
    assert windows((1, 2), _parts(4)) == [(1, 2), (0, 1), (0, 1, 2)]
    assert windows((4, 5, 6, 7, 8), _parts(30))[:2] == [(4, 5, 6, 7, 8), (2, 3, 4, 5, 6)]


def test_a_point_of_the_grid_differs_in_what_its_stage_varies() -> None:
    start = SearchPoint(EditSettings(lam=100.0))
    assert [one.settings.lam for one in scaled(start, (1.0, 0.25))] == [100.0, 25.0]
    assert len({repr(one) for one in reaches(start)}) == 72
    assert len({repr(one) for one in solves(start)}) == 18


class _Scores:
    """A laboratory in which S depends on λ and the clamp alone, best at λ = 400 and a clamp of 1.5."""

    def judged(self, candidate: SearchPoint, edits: Any, untouched: Any) -> Any:
        lam = candidate.settings.lam
        if lam == "auto":
            return SimpleNamespace(lam=100.0)
        score = 0.5 + 0.25 * (lam == 400.0) + 0.25 * (candidate.settings.clamp == 1.5)
        return SimpleNamespace(s=score)


def test_the_grid_finds_its_best_point_and_counts_what_a_limit_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.hand_search.rank", lambda judged, floors: judged.s)
    split = Split("search", (), ())
    unlimited = Grid(cast(Any, _Scores()), [split, split], {}, ends=float("inf"))
    best = unlimited.run(SearchPoint(EditSettings(layers=(1, 2))), _parts(4))
    assert (best.candidate.settings.lam, best.candidate.settings.clamp, best.s) == (400.0, 1.5, 1.0)
    assert unlimited.skipped == 0
    with pytest.raises(Exception, match="no point of the grid"):
        Grid(cast(Any, _Scores()), [split], {}, ends=0.0).run(
            SearchPoint(EditSettings(layers=(1, 2))), _parts(4)
        )


def test_the_table_joins_what_both_programs_wrote(tmp_path: Path) -> None:
    machine = {"device": "cpu", "threads": 1}
    row = {"S": 0.9, "lam": 200.0, "intervals": {"S": [0.8, 0.95]}}
    calibration = {
        "machine": machine, "rows": {"calibrated": row, "old defaults": {**row, "S": 0.1}}, "trials": [1, 2],
        "edits": {"search": 3, "check": 3, "test": 4}, "known": 9, "given": 10, "seconds": 60.0,
    }  # fmt: skip
    hand = {"machine": machine, "rows": {"by hand": {**row, "S": 0.85}}, "points": [1], "seconds": 30.0}
    (tmp_path / "calibrate-a.json").write_text(json.dumps(calibration))
    (tmp_path / "calibrate-a-by-hand.json").write_text(json.dumps(hand))
    text = calibrate_tables.publish(tmp_path)
    scores = [
        line.split("|")[4].split()[0]
        for line in text.splitlines()
        if line.startswith("| a | ") and "(" in line
    ]
    assert scores == ["0.100", "0.850", "0.900"]
    assert "| a | 9 of 10 | 3, 3, 4 | 2 | 1.0 | 1 | 0.5 | cpu, 1 threads |" in text
    assert (tmp_path / "calibrate.svg").exists()
