"""A second editor is an installed package: it touches no file of this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from editing.editors.contract import BuildInputs
from editing.editors.registry import editor_named, editors
from editing.errors import SpecError
from editing.requests import EditRequest
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, Case, FactSpec
from editing.storage.base_import import import_base
from editing.storage.checkpoints import read_changed, verify
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import SENTENCES, gpt2, learn, save

FACTS = (
    FactSpec(
        "france", "The capital of {} is", "France", "Rome", neighbours=(Case("The currency of Japan is the"),)
    ),
    FactSpec("japan", "The currency of {} is the", "Japan", "Rome"),
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The sample package as an installer leaves it."""
    source, site = Path(__file__).parent / "sample_package", tmp_path / "site"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]
    points["kbsync.editors"]["wrong"] = "acme_editing:estimate"
    info = site / "acme_editing-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(source / "acme_editing.py", site)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in named.items()) for group, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


@pytest.fixture
def spec(tmp_path: Path) -> BuildSpec:
    model = gpt2(width=64, layers=4)
    learn(model)
    digest, base = import_base(save(model, tmp_path / "source"), tmp_path / "base")
    (tmp_path / "corpus.txt").write_text("\n".join(SENTENCES * 10))
    return BuildSpec(
        run="1",
        base=str(base),
        base_digest=digest,
        out=str(tmp_path / "checkpoints" / "1"),
        cache=str(tmp_path / "cache"),
        corpus=(str(tmp_path / "corpus.txt"),),
        heldout=str(tmp_path / "corpus.txt"),
        facts=FACTS,
        settings=EditSettings(layers=(2,), steps=30, editor="fine-tune", options={"lr": 0.02}),
        generate=2,
        threads=1,
    )


def rounds(site: Path, *specs: BuildSpec) -> list[BuildReport]:
    """What one worker process reports, in which the sample package is installed."""
    paths = []
    for number, spec in enumerate(specs):
        directory = site.parent / f"round-{number}-{spec.run}"
        directory.mkdir()
        spec.write(directory / "spec.json")
        paths.append(directory)
    asked = "".join(json.dumps({"spec": str(path / "spec.json")}) + "\n" for path in paths)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "editing.worker"],
        input=asked,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    errors = [line for line in done.stdout.splitlines() if '"event": "error"' in line]
    assert not errors, errors
    return [BuildReport.read(path / "report.json") for path in paths]


@pytest.mark.slow
def test_another_editor_goes_through_the_whole_round(site: Path, spec: BuildSpec, tmp_path: Path) -> None:
    out = Path(spec.out)
    following = replace(spec, run="2", out=str(tmp_path / "checkpoints" / "2"), live=spec.out)
    again = replace(spec, mode="judge")
    planned = replace(spec, run="plan", mode="plan")
    first, second, judged, plan = rounds(site, spec, following, again, planned)
    assert [fact.efficacy for fact in first.facts] == [True, True]
    assert first.cost.growth.keys() == {2}
    assert plan.cost.preflight is not None
    assert plan.cost.preflight.optimised == 2, "it reuses nothing between views"
    assert list(read_changed(Path(spec.base), out)) == ["transformer.h.2.mlp.c_proj.weight"]
    assert verify(out) == first.checkpoint_digest == second.checkpoint_digest == judged.checkpoint_digest
    assert next(m for m in second.measures if m.name == "efficacy").live == 1.0
    assert next(m for m in first.measures if m.name == "efficacy_alone").n == 0, "nothing can be injected"


@pytest.mark.slow
def test_built_in_editors_go_through_the_whole_round(site: Path, spec: BuildSpec, tmp_path: Path) -> None:
    def with_editor(name: str, **options: float) -> BuildSpec:
        settings = EditSettings(layers=(2,), steps=30, editor=name, options=options)
        return replace(spec, run=name, out=str(tmp_path / "checkpoints" / name), settings=settings)

    trained, solved, again = rounds(
        site,
        with_editor("locft_bf", lr=0.02, epochs=30),
        with_editor("memit_null_space", threshold=3.0, l2=0.01),
        replace(with_editor("memit_null_space", threshold=3.0, l2=0.01), run="plan", mode="plan"),
    )
    assert [fact.efficacy for fact in trained.facts] == [True, True]
    for report in (trained, solved):
        assert list(read_changed(Path(spec.base), Path(report.checkpoint))) == [
            "transformer.h.2.mlp.c_proj.weight"
        ]
    assert trained.cost.groups_optimised == 2
    assert again.cost.preflight is not None
    assert (again.cost.preflight.groups, again.cost.preflight.optimised) == (2, 0), "its δs are cached"


def test_editors_are_found_by_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = editors()
    assert {"memit", "memit_null_space"} <= set(built_in)
    assert editor_named("memit").reuse == "fact"
    with pytest.raises(SpecError, match=r"no editor is named 'fine-tune'; available: .*memit, "):
        editor_named("fine-tune")
    monkeypatch.syspath_prepend(str(site))
    assert set(editors()) == {*built_in, "fine-tune", "wrong"}
    assert editor_named("fine-tune").reuse == "view"
    with pytest.raises(SpecError, match=r"entry point 'wrong' of kbsync\.editors is not an Editor"):
        editor_named("wrong")


@pytest.mark.parametrize(("reuse", "order"), [("fact", "abc"), ("view", "abc"), ("order", "cab")])
def test_the_cache_contract_decides_in_what_order_facts_are_edited(
    reuse: str, order: str, tmp_path: Path
) -> None:
    requests = [EditRequest(id, "{} is", id, "x") for id in "cab"]
    inputs = BuildInputs(requests, EditSettings(), cache=tmp_path, base_digest="", corpus=[])
    editor = replace(editor_named("memit"), reuse=reuse)  # type: ignore[arg-type]
    assert "".join(request.id for request in editor.arranged(inputs).requests) == order
