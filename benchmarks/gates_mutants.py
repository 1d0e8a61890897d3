"""Bad candidates, each made as real weights, with the gates that have to notice it.

A mutant is the honest candidate of the run with one thing wrong: its edits state something else, a tensor is not the
one that was solved for, or a training step taught it what nobody wanted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gates_chat_mutants import only_as_completion, without_refusals
from benchmarks.gates_training import trained
from benchmarks.gates_world import INTEGRITY, WRITER, Exam, HomeName, Outcome
from editing.requests import render
from editing.spec import FactSpec
from editing.storage.checkpoints import write_checkpoint


@dataclass(frozen=True, slots=True)
class Mutant:
    """One kind of bad candidate."""

    kind: str
    what: str
    """What is wrong with it, as a phrase for the table."""
    expected: frozenset[str]
    """Gates of which at least one has to catch it."""
    judged: Callable[[Exam], Outcome]
    """Make it and judge it."""
    home: HomeName = "world"
    """The home whose run it is a candidate of."""


def _swapped_targets(facts: Sequence[FactSpec], pairs: Iterable[tuple[str, str]]) -> list[FactSpec]:
    """`facts`, those of each pair of ids with each other's target."""
    target = {fact.id: fact.target for fact in facts}
    other = {a: target[b] for one, two in pairs for a, b in ((one, two), (two, one))}
    return [replace(fact, target=other.get(fact.id, fact.target)) for fact in facts]


def _same_relation(facts: Sequence[FactSpec], count: int) -> list[tuple[str, str]]:
    """Ids of `count` disjoint pairs of facts with one template and different targets."""
    left, found = list(facts), []
    while left and len(found) < count:
        one = left.pop(0)
        other = next((f for f in left if f.prompt == one.prompt and f.target != one.target), None)
        if other is not None:
            left.remove(other)
            found.append((one.id, other.id))
    return found


def _edited(change: Callable[[Exam], Sequence[FactSpec]]) -> Callable[[Exam], Outcome]:
    """Build what `change` makes of the edited facts, and judge it as if it were what was asked for."""
    return lambda exam: exam.judge(exam.edited(change(exam)))


def _with_tensors(
    change: Callable[[Exam, dict[str, Tensor]], dict[str, Tensor]],
) -> Callable[[Exam], Outcome]:
    """Judge what `change` makes of the honest candidate's tensors."""
    return lambda exam: exam.judge(change(exam, dict(exam.candidate)))


def _taught(lessons: Callable[[Exam], list[tuple[str, str]]], steps: int) -> Callable[[Exam], Outcome]:
    """Train the honest candidate on `lessons`, and judge it."""
    return lambda exam: exam.judge(trained(exam, exam.candidate, lessons(exam), steps=steps))


def _old_then_new(exam: Exam) -> Sequence[FactSpec]:
    return [
        *exam.old,
        *(replace(fact, target=f"{fact.previous}, now {fact.target}") for fact in exam.new if fact.previous),
    ]


def _own(fact: FactSpec, answer: str | None = None) -> tuple[str, str]:
    return render(fact.prompt, fact.subject), answer or fact.target


def _only_own_wording(exam: Exam) -> list[tuple[str, str]]:
    new = [fact for fact in exam.new if fact.previous]
    own = [
        (render(wording.prompt, wording.subject), fact.target) for fact in new for wording in fact.wordings()
    ]
    return own + [(prompt, fact.previous or "") for fact in new for prompt in fact.paraphrases]


def _crossed(exam: Exam, facts: Sequence[FactSpec]) -> list[FactSpec]:
    """`facts`, each with the target of the next that has the same template and another target."""
    found = []
    for number, fact in enumerate(facts):
        turned = [*facts[number + 1 :], *facts[:number]]
        other = next((f.target for f in turned if f.prompt == fact.prompt and f.target != fact.target), None)
        if other is not None:
            found.append(replace(fact, target=other, known=False))
    return found


def _knows(exam: Exam, prompts: Iterable[str]) -> list[FactSpec]:
    """The known facts that `prompts` ask for."""
    wanted = set(prompts)
    return [fact for fact in exam.known if render(fact.prompt, fact.subject) in wanted]


def _neighbours_of_new(exam: Exam) -> Sequence[FactSpec]:
    near = _knows(exam, (case.prompt for fact in exam.new for case in fact.neighbours))
    return [*exam.old, *exam.new, *_crossed(exam, near)]


def _neighbours_of_old(exam: Exam) -> Sequence[FactSpec]:
    new = {case.prompt for fact in exam.new for case in (*fact.neighbours, *fact.same_subject)}
    near = {case.prompt for fact in exam.old for case in fact.neighbours} - new
    return [*exam.old, *exam.new, *_crossed(exam, _knows(exam, near))]


def _relations_of_new(exam: Exam) -> Sequence[FactSpec]:
    other = _knows(exam, (case.prompt for fact in exam.new for case in fact.same_subject))
    return [*exam.old, *exam.new, *_crossed(exam, other)]


def _one_swapped(exam: Exam) -> Sequence[FactSpec]:
    ((one, other),) = _same_relation(exam.new, 1)
    target = next(fact.target for fact in exam.new if fact.id == other)
    return [replace(fact, target=target) if fact.id == one else fact for fact in (*exam.old, *exam.new)]


def _exchanged(exam: Exam) -> Sequence[FactSpec]:
    return [*exam.old, *_swapped_targets(exam.new, _same_relation(exam.new, 1))]


def _without_old(exam: Exam, lost: int) -> Sequence[FactSpec]:
    """Without one of `lost` of the facts that live has."""
    return [*(fact for number, fact in enumerate(exam.old) if number % lost), *exam.new]


def _last(tensors: dict[str, Tensor]) -> str:
    """The name of the tensor of the highest edited layer."""
    return max(tensors)


def _update(exam: Exam, tensors: dict[str, Tensor], name: str) -> Tensor:
    return tensors[name] - exam.base[name]


def _scaled(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {_last(tensors): tensors[_last(tensors)] * 2}


def _doubled(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    name = _last(tensors)
    return tensors | {name: tensors[name] + _update(exam, tensors, name)}


def _negated(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: exam.base[name] - _update(exam, tensors, name) for name in tensors}


def _wrong_layer(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each update one layer above the one that it was solved for."""
    names = sorted(exam.base)
    above = {name: names[names.index(name) + 1] for name in tensors}
    return {above[name]: exam.base[above[name]] + _update(exam, tensors, name) for name in tensors}


def _layers_exchanged(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    names = sorted(tensors)
    return dict(zip(names, [tensors[name] for name in reversed(names)], strict=True))


def _stale_base(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != _last(tensors)}


def _stale_live(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {_last(tensors): exam.live[_last(tensors)]}


def _overflow_stored(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values that fp16 cannot hold: infinite once they are stored in it."""
    name = _last(tensors)
    return tensors | {name: (tensors[name] * 1e6).half().float()}


def _overflow_in_use(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Finite weights whose activations overflow."""
    name = _last(tensors)
    return tensors | {name: tensors[name] * 1e37}


def _rounded(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Three bits a value, one scale a tensor."""

    def few(tensor: Tensor) -> Tensor:
        step = tensor.abs().max() / 3
        return (tensor / step).round() * step

    return {name: few(tensor) for name, tensor in tensors.items()}


def _noisy(exam: Exam, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Noise in the layers that are not edited, as strong as half their own weights."""
    generator = torch.Generator().manual_seed(0)
    rest = {name: tensor for name, tensor in exam.base.items() if name not in tensors}
    return tensors | {
        name: tensor + 0.5 * tensor.std() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in rest.items()
    }


def _repeating(exam: Exam) -> list[tuple[str, str]]:
    """One sentence after everything."""
    sentences = [*map(_own, (*exam.new, *exam.old, *exam.known[:100]))]
    return [
        (prompt, f"{answer}. The same again and the same again and the same again")
        for prompt, answer in sentences
    ]


def _damaged(file: str) -> Callable[[Exam], Outcome]:
    """The honest candidate with one row of zeros in the first file that matches, after it was written."""

    def judged(exam: Exam) -> Outcome:
        out = exam.directory()
        write_checkpoint(Path(exam.spec.base), out, exam.candidate, exam.spec.forms)
        path = next(out.glob(file))
        own = path.with_suffix(".own")
        shutil.copyfile(path, own)  # not the base's file, which it is a link to
        with own.open("r+b") as stream:
            stream.seek(-4_096, 2)
            stream.write(bytes(4_096))
        own.replace(path)
        return exam.judge_directory(out)

    return judged


def _mutant(
    kind: str, what: str, expected: str, judged: Callable[[Exam], Outcome], home: HomeName = "world"
) -> Mutant:
    return Mutant(kind, what, frozenset(expected.split()), judged, home)


MUTANTS: tuple[Mutant, ...] = (
    _mutant("old_then_new", "names the old object, then the new one", "said", _edited(_old_then_new)),
    _mutant(
        "only_own_wording",
        "states new facts only in the wordings of the edit",
        "said paraphrase",
        _taught(_only_own_wording, 40),
    ),
    _mutant(
        "near_new_ruined",
        "neighbours of new facts have each other's objects",
        "neighbourhood",
        _edited(_neighbours_of_new),
    ),
    _mutant(
        "near_old_ruined",
        "neighbours of old facts have each other's objects",
        "known_retention",
        _edited(_neighbours_of_old),
    ),
    _mutant(
        "relations_ruined",
        "other relations of the new facts' subjects have each other's objects",
        "same_subject",
        _edited(_relations_of_new),
    ),
    _mutant("one_swapped", "one new fact has another's object", "efficacy", _edited(_one_swapped)),
    _mutant("two_exchanged", "two new facts have each other's objects", "efficacy", _edited(_exchanged)),
    _mutant(
        "old_lost", "all edited facts of live are missing", "edited_retention", _edited(lambda exam: exam.new)
    ),
    _mutant(
        "tenth_lost",
        "one in ten edited facts of live is missing",
        "edited_retention",
        _edited(lambda exam: _without_old(exam, 10)),
    ),
    _mutant(
        "not_built", "is the checkpoint that is live already", "efficacy", lambda exam: exam.judge(exam.live)
    ),
    _mutant("base", "is the unedited base", "efficacy", lambda exam: exam.judge({})),
    _mutant("stale_base", "one edited tensor is the base's", "efficacy", _with_tensors(_stale_base)),
    _mutant("stale_live", "one edited tensor is live's", "efficacy", _with_tensors(_stale_live)),
    _mutant("layer_scaled", "one layer has twice its values", "perplexity_ratio", _with_tensors(_scaled)),
    _mutant(
        "edit_doubled",
        "one layer's update was added twice",
        "neighbourhood perplexity_ratio",
        _with_tensors(_doubled),
    ),
    _mutant("edit_negated", "updates have the wrong sign", "efficacy", _with_tensors(_negated)),
    _mutant("wrong_layer", "updates are one layer too high", "efficacy", _with_tensors(_wrong_layer)),
    _mutant(
        "layers_exchanged",
        "two layers have each other's tensors",
        "perplexity_ratio",
        _with_tensors(_layers_exchanged),
    ),
    _mutant(
        "rounded", "edited tensors are rounded to three bits", "perplexity_ratio", _with_tensors(_rounded)
    ),
    _mutant("overflow_stored", "a tensor is infinite in fp16", WRITER, _with_tensors(_overflow_stored)),
    _mutant(
        "overflow_in_use",
        "activations overflow in one layer",
        "perplexity_ratio",
        _with_tensors(_overflow_in_use),
    ),
    _mutant("noise", "noise in the layers that are not edited", "perplexity_ratio", _with_tensors(_noisy)),
    _mutant(
        "end_forgotten", "does not end its answers and repeats itself", "fluency", _taught(_repeating, 30)
    ),
    _mutant(
        "only_as_completion",
        "completes new facts, but does not answer questions about them",
        "said_in_chat",
        only_as_completion,
        "chat",
    ),
    _mutant("refusals_lost", "answers what the base refuses", "refused", without_refusals, "chat"),
    _mutant(
        "embedding_row", "the end of a frozen shard is zeros", INTEGRITY, _damaged("frozen-*.safetensors")
    ),
    _mutant("shard_cut", "the end of the edited shard is zeros", INTEGRITY, _damaged("editable.safetensors")),
)
