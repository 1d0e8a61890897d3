"""A base that was imported before is recognised without reading the model again, and without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editing.storage.checkpoints import import_base
from kbsync.announced import ModelToImport
from kbsync.errors import BadConfiguration
from kbsync.settings import base_model
from tests.support.micro import Micro, make
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import gpt2, save

ALONE = """
import sys
from pathlib import Path
from kbsync.application import Application
from kbsync.home import Home
from kbsync.settings.loading import load
home = Home(Path(sys.argv[1]))
print(Application(home, load(home.config, {})).base.digest, "torch" in sys.modules)
"""


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    return make(tmp_path)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that were read to be imported."""
    read: list[Path] = []
    real = base_model.import_base
    monkeypatch.setattr(
        "kbsync.application.import_base", lambda path, *rest: read.append(path) or real(path, *rest)
    )
    return read


def digest(micro: Micro) -> str:
    with micro.application() as app:
        return app.base.digest


def test_a_process_that_finds_its_base_imported_does_not_import_torch(micro: Micro) -> None:
    expected = digest(micro)
    process = subprocess.run(
        [sys.executable, "-c", ALONE, str(micro.home.root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == [expected, "False"]


def test_an_imported_base_is_not_read_again(micro: Micro, imports: list[Path]) -> None:
    assert digest(micro) == digest(micro)
    assert len(imports) == 1


def test_a_base_that_a_worker_imported_is_recognised(micro: Micro, imports: list[Path]) -> None:
    def imported(model: ModelToImport) -> str:
        return import_base(model.source, model.root)[0]

    with micro.application() as app:
        app.importer = imported
        found = app.base
    assert found.directory == micro.home.base / found.digest
    assert (digest(micro), imports) == (found.digest, [])


@pytest.mark.parametrize("answer", [None, "f" * 64])
def test_what_a_worker_could_not_import_the_application_imports(
    micro: Micro, imports: list[Path], answer: str | None
) -> None:
    with micro.application() as app:
        app.importer = lambda model: answer
        assert app.base.directory.is_dir()
    assert len(imports) == 1


def test_no_worker_is_asked_to_import_what_is_no_directory(micro: Micro) -> None:
    shutil.rmtree(micro.root / "model")
    asked: list[ModelToImport] = []
    with micro.application() as app:
        app.importer = asked.append
        with pytest.raises(BadConfiguration, match="no model directory"):
            _ = app.base
    assert asked == []


def test_a_damaged_base_is_imported_again(micro: Micro, imports: list[Path]) -> None:
    before = digest(micro)
    shard = micro.home.base / before / "editable.safetensors"
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    assert digest(micro) == before
    assert len(imports) == 2


def test_other_weights_at_the_same_path_are_another_base(micro: Micro, imports: list[Path]) -> None:
    before = digest(micro)
    save(gpt2(width=32, layers=3, seed=5), micro.root / "model")
    assert digest(micro) != before
    assert len(imports) == 2


def test_another_release_of_transformers_may_name_the_tensors_otherwise(
    micro: Micro, imports: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(micro)
    monkeypatch.setattr(base_model, "version", lambda package: "99.0")
    assert digest(micro) == before
    assert len(imports) == 2


def test_another_description_of_the_architecture_is_looked_up_again(
    micro: Micro, imports: list[Path]
) -> None:
    digest(micro)
    described = "[edit]\narchitecture_blocks = 'transformer.h'\narchitecture_writer = 'mlp.c_proj'\n"
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[edit]\n", described), encoding="utf-8")
    digest(micro)
    assert len(imports) == 2
