"""Recipes of checkpoints: which settings would build the same candidate again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from editing.settings import EditSettings
from kbsync import recipe as recipes
from kbsync.recipe import same
from kbsync.settings.base_model import looks_of


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


def test_a_text_of_the_same_size_and_date_is_another_text_and_the_first_one_again_is_the_first(
    tmp_path: Path,
) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("the first text")
    first = known = recipes._text([file], {})
    for text, same_again in (("another text!!", False), ("the first text", True)):
        before = file.stat()
        while file.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock has steps
            file.write_text(text)
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        known = recipes._text([file], known)
        assert (known["digest"] == first["digest"]) is same_again


def test_a_model_of_the_same_size_and_date_is_looked_at_again(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    looks, before = looks_of(tmp_path), file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_bytes(b"two")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert looks_of(tmp_path) != looks
