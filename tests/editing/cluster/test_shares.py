"""A build's residuals divided into shares: together they are all of them, and the build finds them in the cache."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editing.errors import SpecError
from editing.evaluation.generation import GeneratedText
from editing.evaluation.locality import next_token
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Question, Score
from editing.modes import Mode
from editing.spec import BuildReport, BuildSpec, Case
from editing.worker.exam_answers import ExamAnswers, weights_digest
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support.shared_builds import FACTS, SETTINGS, SharedBuild, assert_same


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedBuild:
    return SharedBuild(tmp_path_factory.mktemp("shared"))


def run(workshop: Workshop, path: Path) -> BuildReport:
    return BuildReport.read(workshop.round(path))


def share(
    shared: SharedBuild, name: str, number: int, of: int, mode: Mode = "residuals", step: int = 0
) -> Path:
    """The spec of one share of the build `name`."""
    spec = BuildSpec.read(shared.root / name / "spec.json")
    path = shared.root / name / f"{mode}-{number}" / "spec.json"
    path.parent.mkdir(exist_ok=True)
    replace(spec, mode=mode, share=(number, of), step=step, out="").write(path)
    return path


def test_all_shares_together_leave_nothing_to_optimise_and_the_same_weights(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    alone = run(workshop, shared.spec("alone"))
    assert alone.cost.groups_optimised == len(FACTS)
    path = shared.spec("divided")
    done: dict[str, int] = {}
    for number in range(3):
        report = run(workshop, share(shared, "divided", number, 3))
        assert report.checkpoint_digest == ""
        now = shared.deltas("divided")
        assert done.items() < now.items(), "each share adds some, and leaves those of others"
        done = now
    assert done.keys() == shared.deltas("alone").keys()
    whole = run(workshop, path)
    assert (whole.cost.groups_optimised, whole.cost.groups_cached) == (0, len(FACTS))
    assert shared.deltas("divided") == done
    assert_same(shared.changed("divided"), shared.changed("alone"))


def test_a_share_that_is_run_again_computes_nothing(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    shared.spec("again")
    path = share(shared, "again", 0, 2)
    run(workshop, path)
    done = shared.deltas("again")
    path.with_name("report.json").unlink()
    run(workshop, path)
    assert shared.deltas("again") == done


def test_shares_of_the_statistics_add_up_and_are_removed(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("counted"))
    path = shared.spec("added")
    stats = shared.root / "added" / "cache" / "stats"
    for number in range(3):
        run(workshop, share(shared, "added", number, 3, "statistics"))
        assert len(list(stats.glob("*.sums"))) == number + 1
    kept = {file: file.stat().st_mtime_ns for file in stats.glob("*.sums")}
    (shared.root / "added" / "statistics-1" / "report.json").unlink()
    run(workshop, share(shared, "added", 1, 3, "statistics"))
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, (
        "a share that is there is not counted again"
    )
    run(workshop, path)
    assert not list(stats.glob("*.sums"))
    assert_same(moments(stats), moments(shared.root / "counted" / "cache" / "stats"))
    assert_same(shared.changed("added"), shared.changed("counted"))


def test_without_all_shares_or_with_a_damaged_one_the_build_counts_itself(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("counted"))
    path = shared.spec("damaged")
    stats = shared.root / "damaged" / "cache" / "stats"
    for number in (0, 2):
        run(workshop, share(shared, "damaged", number, 3, "statistics"))
    for number in (0, 1):
        run(workshop, share(shared, "damaged", number, 2, "statistics"))
    (last,) = stats.glob("*.1-of-2.sums")
    last.write_bytes(last.read_bytes()[:-1])
    run(workshop, path)
    assert not list(stats.glob("*.sums"))
    assert_same(moments(stats), moments(shared.root / "counted" / "cache" / "stats"))


def moments(directory: Path) -> dict[str, Tensor]:
    """The second moments that were stored, by layer."""
    found = {}
    for file in directory.glob("*.safetensors"):
        tensors = load_file(file)
        if "moment" in tensors:
            found[file.stem.rpartition("-")[2]] = tensors["moment"]
    return found


@pytest.mark.parametrize("wrong", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(shared: SharedBuild, wrong: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        BuildSpec.read(shared.spec("wrong", share=wrong))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("average", {}),
        ("all", {"keys": "all", "lam": "auto"}),
        ("null-space", {"editor": "memit_null_space"}),
        ("kept", {"keep": 0.5}),
    ],
)
def test_keys_in_shares_and_solves_layer_by_layer_leave_nothing_to_solve(
    shared: SharedBuild, name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = Workshop(Channel(StringIO()))
    settings = replace(SETTINGS, **changes)
    alone = run(workshop, shared.spec(f"{name}-alone", settings=settings))
    path = shared.spec(name, settings=settings)
    shutil.copytree(shared.root / f"{name}-alone" / "cache", shared.root / name / "cache")
    layer_by_layer(workshop, shared, name)
    keys = shared.root / name / "cache" / "keys"
    assert len(list(keys.glob("*-weight.safetensors"))) == 2
    assert not list(keys.glob("*-columns-*")), "columns are removed once their layer is solved"
    with monkeypatch.context() as patch:
        patch.setattr("editing.memit.build.spread", None)
        whole = run(workshop, path)
    assert_same(shared.changed(name), shared.changed(f"{name}-alone"))
    assert whole.cost.lam == alone.cost.lam
    assert whole.cost.leverage == alone.cost.leverage
    assert whole.cost.growth == pytest.approx(alone.cost.growth)
    assert [fact.outcomes for fact in whole.facts] == [fact.outcomes for fact in alone.facts]


def layer_by_layer(workshop: Workshop, shared: SharedBuild, name: str, of: int = 3) -> None:
    for step in range(2):
        for number in range(of):
            run(workshop, share(shared, name, number, of, "keys", step))
        run(workshop, share(shared, name, 0, of, "solve", step))


def test_parts_of_one_build_prepare_it_once(shared: SharedBuild, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop = Workshop(Channel(StringIO()))
    shared.spec("once")
    run(workshop, share(shared, "once", 0, 1))
    with monkeypatch.context() as patch:
        patch.setattr("editing.worker.rounds.screened", None)
        patch.setattr("editing.memit.preparation.form_groups", None)
        layer_by_layer(workshop, shared, "once")
    assert len(list((shared.root / "once" / "cache" / "keys").glob("*-weight.safetensors"))) == 2
    fewer = shared.spec("fewer-once", FACTS[:-1], cache=str(shared.root / "once" / "cache"))
    assert len(run(workshop, fewer).facts) == len(FACTS) - 1
    run(workshop, share(shared, "fewer-once", 0, 1))
    layer_by_layer(workshop, shared, "fewer-once")
    assert len(list((shared.root / "once" / "cache" / "keys").glob("*-weight.safetensors"))) == 4


def test_lost_states_and_columns_are_collected_again(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("whole"))
    path = shared.spec("lost")
    shutil.copytree(shared.root / "whole" / "cache", shared.root / "lost" / "cache")
    for number in range(2):
        run(workshop, share(shared, "lost", number, 2, "keys"))
    keys = shared.root / "lost" / "cache" / "keys"
    damaged = next(keys.glob("*-columns-1-of-2*"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    run(workshop, share(shared, "lost", 0, 2, "solve"))
    assert not list(keys.glob("*-weight*")), "no solve without all columns"
    for mode, number in (("keys", 1), ("solve", 0)):
        (shared.root / "lost" / f"{mode}-{number}" / "report.json").unlink()
        run(workshop, share(shared, "lost", number, 2, mode))
    assert len(list(keys.glob("*-weight*"))) == 1
    for file in keys.glob("*-states-*"):
        file.unlink()
    for number in range(2):
        run(workshop, share(shared, "lost", number, 2, "keys", 1))
    run(workshop, share(shared, "lost", 0, 2, "solve", 1))
    run(workshop, path)
    assert len(list(keys.glob("*-weight*"))) == 2
    assert_same(shared.changed("lost"), shared.changed("whole"))


def test_another_view_does_not_use_the_keys_of_this_one(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    shared.spec("one")
    for number in range(2):
        run(workshop, share(shared, "one", number, 2))
    layer_by_layer(workshop, shared, "one")
    run(workshop, shared.spec("fewer-alone", FACTS[:-1]))
    run(workshop, shared.spec("fewer", FACTS[:-1], cache=str(shared.root / "one" / "cache")))
    assert_same(shared.changed("fewer"), shared.changed("fewer-alone"))
    assert any(
        not torch.equal(tensor, shared.changed("fewer")[name])
        for name, tensor in stored_weights(shared, "one").items()
    )


def stored_weights(shared: SharedBuild, name: str) -> dict[str, Tensor]:
    """The weights of the build `name` without a report, by name."""
    run(Workshop(Channel(StringIO())), shared.root / name / "spec.json")
    return shared.changed(name)


RICH = tuple(
    replace(
        fact,
        paraphrases=(f"It is said that {fact.prompt.format(fact.subject)}",),
        neighbours=(Case(f"The capital of Region {number} is", None),),
        same_subject=(Case(f"The river of {fact.subject} is", None),),
        previous="Berlin",
        in_live=number % 3 == 0,
    )
    for number, fact in enumerate(FACTS)
)


@pytest.mark.slow
def test_an_exam_in_shares_leaves_little_to_ask_and_the_same_outcome(
    shared: SharedBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("before", RICH[::2]))
    live = str(shared.root / "before" / "checkpoint")
    alone = run(workshop, shared.spec("exam-alone", RICH, live=live, generate=4))
    path = shared.spec("exam", RICH, live=live, generate=4)
    shutil.copytree(shared.root / "exam-alone" / "cache", shared.root / "exam" / "cache")
    layer_by_layer(workshop, shared, "exam", of=1)
    files = [str(shared.root / "exam" / f"answers-{number}") for number in range(3)]
    for number, file in enumerate(files):
        part = share(shared, "exam", number, 3, "exam")
        replace(BuildSpec.read(part), live=live, answered=(file,)).write(part)
        assert run(Workshop(Channel(StringIO())), part).checkpoint_digest == ""
    spec = BuildSpec.read(path)
    replace(spec, answered=tuple(files)).write(path)
    with monkeypatch.context() as patch:
        answered = counted(patch)
        divided = run(Workshop(Channel(StringIO())), path)
    with monkeypatch.context() as patch:
        every = counted(patch)
        replace(spec, out=str(shared.root / "exam-undivided")).write(path)
        run(Workshop(Channel(StringIO())), path)
    assert [replace(fact, p_new=None, p_old=None) for fact in divided.facts] == [
        replace(fact, p_new=None, p_old=None) for fact in alone.facts
    ]
    assert [fact.p_new for fact in divided.facts] == pytest.approx([fact.p_new for fact in alone.facts])
    for one, other in zip(divided.measures, alone.measures, strict=True):
        assert one.name == other.name
        assert one.value == pytest.approx(other.value, abs=1e-4), one.name
        assert one.live == pytest.approx(other.live, abs=1e-4), one.name
    assert every["score"] > 100
    assert answered["score"] < 0.1 * every["score"]
    assert answered["alone"] == 0 < every["alone"]
    assert answered["greedy_answers"] < every["greedy_answers"]


def counted(patch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many questions models are asked from now on, by function."""
    counts = dict.fromkeys(("score", "greedy_answers", "free_answers", "alone"), 0)

    def count(place: str, name: str, at: int) -> None:
        module, _, function = place.rpartition(".")
        asked = getattr(import_module(module), function)

        def counting(*given: Any, **named: Any) -> Any:
            counts[name] += len(given[at])
            return asked(*given, **named)

        patch.setattr(place, counting)

    count("editing.evaluation.responses.score", "score", 1)
    count("editing.evaluation.responses.greedy_answers", "greedy_answers", 2)
    count("editing.evaluation.responses.free_answers", "free_answers", 2)
    count("editing.worker.rounds.stated_alone", "alone", 2)
    return counts


def test_answers_of_other_weights_and_damaged_files_are_not_used(tmp_path: Path) -> None:
    question = Question((1, 2), (3,))
    answers = Responses(
        scores={question: Score((True,), -0.25)},
        greedy={(1, 2): (3, 4)},
        texts={"a": GeneratedText("b c", "b")},
        free={"a": "b"},
        next_tokens={(1,): next_token(torch.arange(9.0))},
        divergences={(1,): float("inf")},
    )
    tensors = {"weight": torch.ones(2, dtype=torch.bfloat16)}
    written = ExamAnswers({weights_digest("base", tensors): answers}, {"fact": ("group", True)})
    written.write(tmp_path / "answers")
    read = ExamAnswers.read([tmp_path / "answers", tmp_path / "none"])
    found = Responses()
    read.give(found, "base", {"weight": torch.zeros(2, dtype=torch.bfloat16)})
    read.give(found, "other", tensors)
    assert found == Responses()
    read.give(found, "base", tensors)
    same = ("scores", "greedy", "texts", "free", "divergences")
    assert [getattr(found, name) for name in same] == [getattr(answers, name) for name in same]
    for kept, other in zip(found.next_tokens.values(), answers.next_tokens.values(), strict=True):
        assert torch.equal(kept.tokens, other.tokens)
        assert torch.equal(kept.logprobs, other.logprobs)
    assert read.stated_alone({"fact": "group"}) == {"fact": True}
    assert read.stated_alone({"fact": "another"}) == {}
    content = (tmp_path / "answers").read_bytes()
    (tmp_path / "answers").write_bytes(content[:-1] + b"?")
    assert ExamAnswers.read([tmp_path / "answers"]) == ExamAnswers()
