"""Recipes of checkpoints: which settings would build the same candidate again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from editing.settings import EditSettings
from kbsync.recipe import same


def recipe(settings: EditSettings, *without: str) -> dict[str, Any]:
    edit = {key: value for key, value in asdict(settings).items() if key not in without}
    return json.loads(json.dumps({"edit": edit, "plan": {}, "corpus": {"digest": "text"}, "wordings": {}}))  # type: ignore[no-any-return]


def test_a_recipe_older_than_the_choice_of_optimiser_means_adam() -> None:
    kept = json.dumps(recipe(EditSettings(lam=20.0), "optimiser"))
    assert same(kept, recipe(EditSettings(lam=20.0)))
    assert not same(kept, recipe(replace(EditSettings(lam=20.0), optimiser="lbfgs")))


def test_a_measured_lambda_is_another_recipe_than_a_number() -> None:
    kept = json.dumps(recipe(EditSettings(lam=15_000.0)))
    assert not same(kept, recipe(EditSettings()))
    assert same(json.dumps(recipe(EditSettings())), recipe(EditSettings()))
