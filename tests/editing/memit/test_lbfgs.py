"""Batched L-BFGS: the iterates of a serial one, groups that do not disturb each other, and the best δ kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editing.errors import NumericalError, SpecError
from editing.memit.cost import optimisation_flops
from editing.memit.deltas import Delta
from editing.memit.groups import form_groups, identity_of
from editing.memit.lbfgs import Lbfgs
from editing.memit.targets import Optimisation
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.builds import REQUESTS, SETTINGS, built
from tests.support.serial import Fact, Hyper, Serial
from tests.support.serial_lbfgs import trajectory
from tests.support.zoo import TEXT, Fp64Throughout, tiny, tokenizer

CHOSEN = replace(SETTINGS, optimiser="lbfgs", steps=12, stop_loss=-1.0)
Loss = Callable[[Tensor], Tensor]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def valley(point: Tensor) -> Tensor:
    """Rosenbrock's function, in which fixed steps overshoot."""
    return ((1 - point[:-1]) ** 2 + 5 * (point[1:] - point[:-1] ** 2) ** 2).sum()


def bowl(point: Tensor) -> Tensor:
    return (torch.arange(1.0, len(point) + 1, dtype=point.dtype) * (point - 2) ** 2).sum() + 0.1


def waves(point: Tensor) -> Tensor:
    """Not convex: curvature is negative in places, and pairs are refused."""
    return (3 + torch.cos(3 * point) + 0.1 * (point - 1) ** 2).sum()


def cliff(point: Tensor) -> Tensor:
    """Not a number where the first coordinate exceeds ½; the smallest loss lies there."""
    return bowl(point) + 0 * torch.sqrt(0.5 - point[0])


LOSSES = (valley, bowl, waves, cliff)


def batched(
    losses: tuple[Loss, ...], clamp: float, evaluations: int
) -> tuple[list[Tensor], Lbfgs, list[Tensor]]:
    """(every batch of δs that is evaluated, the rule, the losses found)."""
    norm = torch.tensor([2.0, 1.0, 3.0, 1.5], dtype=torch.float64)[: len(losses)]
    rule = Lbfgs(norm, 6, EditSettings(clamp=clamp, optimiser="lbfgs"))
    delta, seen, values = torch.zeros(len(losses), 6, dtype=torch.float64), [], []
    for _ in range(evaluations):
        seen.append(delta)
        points = delta.clone().requires_grad_(True)
        found = torch.stack([loss(point) for loss, point in zip(losses, points, strict=True)])
        (gradient,) = torch.autograd.grad(found.sum(), points)
        values.append(found.detach())
        delta = rule.update(delta, found.detach(), gradient)
    return seen, rule, values


@pytest.mark.parametrize("clamp", [0.4, 100.0])
def test_iterates_are_those_of_a_serial_lbfgs(clamp: float) -> None:
    seen, rule, _ = batched(LOSSES, clamp, 25)
    best, value = rule.result(seen[-1], rule.value)
    for index, loss in enumerate(LOSSES):
        start = torch.zeros(6, dtype=torch.float64)
        reference, optimum, least = trajectory(loss, start, float(rule.norm[index]), clamp, 25)
        for ours, theirs in zip(seen, reference, strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(best[index], optimum, rtol=1e-7, atol=1e-9)
        assert float(value[index]) == pytest.approx(least)


@pytest.mark.parametrize("clamp", [0.2, 0.7, 5.0])
def test_the_best_delta_evaluated_is_returned_and_the_clamp_holds(clamp: float) -> None:
    seen, rule, values = batched(LOSSES, clamp, 18)
    best, value = rule.result(seen[-1], values[-1])
    least = torch.stack(values).nan_to_num(nan=torch.inf).min(0)
    assert torch.equal(value, least.values)
    for index, at in enumerate(least.indices.tolist()):
        assert torch.equal(best[index], seen[at][index])
    for delta in seen:
        assert bool((delta.norm(dim=1) <= clamp * rule.norm * (1 + 1e-12)).all())
    assert bool((value < values[0]).all())


def test_groups_that_leave_do_not_change_those_that_stay() -> None:
    """A batch that loses a group goes on as if that had never been there."""
    norm = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    whole = Lbfgs(norm, 6, CHOSEN)
    pair = Lbfgs(norm[[0, 2]], 6, CHOSEN)
    deltas = [torch.zeros(3, 6, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.float64)]
    for step in range(10):
        if step == 4:
            whole.keep(torch.tensor([0, 2]))
            deltas[0] = deltas[0][[0, 2]]
        for number, rule in enumerate((whole, pair)):
            losses = (valley, bowl, waves) if len(deltas[number]) == 3 else (valley, waves)
            points = deltas[number].clone().requires_grad_(True)
            found = torch.stack([loss(point) for loss, point in zip(losses, points, strict=True)])
            (gradient,) = torch.autograd.grad(found.sum(), points)
            deltas[number] = rule.update(deltas[number], found.detach(), gradient)
    torch.testing.assert_close(deltas[0], deltas[1], rtol=1e-12, atol=1e-12)


FACTS = [
    Fact("Not Rome, but ", "Rome", ", Rome is", "Paris"),
    Fact("Not Rome, but ", "Rome", " lies in", "Japan"),
    Fact("", "Zu\u0308rich", "'s capital is", "東京 ירושלים"),
    Fact("日本の", "東京", "は", "مصر"),
]
PREFIXES = ("The rain in Rome", "You know that 日本 state")


@pytest.mark.parametrize("bare_steps", [0, 5])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_targets_are_those_of_a_serial_reading_in_fp64(architecture: str, bare_steps: int) -> None:
    model = tiny(architecture)
    parts = locate_parts(model)
    requests = [
        EditRequest(str(index), f"{fact.before}{{}}{fact.after}", fact.subject, fact.target)
        for index, fact in enumerate(FACTS)
    ]
    settings = replace(CHOSEN, kl=0.0625, weight_decay=0.5, clamp=0.5, bare_steps=bare_steps)
    groups = form_groups(tokenizer("byte-bpe"), requests, prefixes=PREFIXES, kl_prompts={}, identity={})
    blocks = range(len(parts.blocks))
    serial = Serial(
        model,
        tokenizer("byte-bpe"),
        parts.blocks,
        [parts.writer(n) for n in blocks],
        [parts.norm(n) for n in blocks],
    )
    hyper = Hyper(settings.steps, settings.lr, settings.clamp, settings.kl, settings.weight_decay, 1.0)
    found = {}
    with frozen(model), Fp64Throughout():
        optimisation = Optimisation(model, parts, groups, settings, layer=2)
        norms = dict(zip((g.requests[0].id for g in groups), optimisation.norm, strict=True))
        together = {group.requests[0].id: [FACTS[int(one.id)] for one in group.requests] for group in groups}
        assert sorted(map(len, together.values())) == [1, 1, 2]
        optimisation.run(lambda group, delta: found.setdefault(group.requests[0].id, delta))
        for name, facts in together.items():
            norm, subject = norms[name], facts[0].subject
            kept = [(f"{subject} is a", len(subject), True)]

            def loss(
                delta: Tensor,
                prefixes: tuple[str, ...] = PREFIXES,
                facts: list[Fact] = facts,
                kept: list[tuple[str, int, bool]] = kept,
                norm: Tensor = norm,
            ) -> Tensor:
                return serial.loss(facts, kept, prefixes, hyper, 2, delta, norm)

            start = torch.zeros(parts.width, dtype=torch.float64)
            _, best, least = trajectory(
                loss,
                start,
                float(norm),
                settings.clamp,
                settings.steps,
                partial(loss, prefixes=()) if bare_steps else None,
                bare_steps,
            )
            ours = found[name]
            assert float((ours.value - best).norm()) <= 1e-7 * float(best.norm())
            assert ours.loss == pytest.approx(least, rel=1e-9)


def test_batch_mates_change_little(tmp_path: Path, corpus: Path) -> None:
    """In fp32, where curvature pairs amplify last bits more than Adam's moments do."""
    together = built(tmp_path / "all", corpus, settings=CHOSEN)
    differences = []
    for request in REQUESTS:
        alone = built(tmp_path / request.id, corpus, [request], CHOSEN)
        (key,) = alone.deltas
        mine, theirs = alone.deltas[key].value, together.deltas[key].value
        differences.append(float((mine - theirs).norm() / theirs.norm()))
    assert sorted(differences)[len(differences) // 2] < 1e-3
    assert max(differences) < 1e-2


def test_a_build_by_lbfgs_stops_early_and_reuses_its_deltas(tmp_path: Path, corpus: Path) -> None:
    first = built(tmp_path, corpus, settings=CHOSEN)
    losses = sorted(delta.loss for delta in first.deltas.values())
    early = replace(CHOSEN, stop_loss=losses[-1])
    stopped = built(tmp_path, corpus, settings=early)
    assert stopped.cost.groups_optimised == 4, "stop_loss is part of the key"
    assert min(delta.updates for delta in stopped.deltas.values()) < CHOSEN.steps
    again = built(tmp_path, corpus, settings=replace(CHOSEN, lr=17.0))
    assert again.cost.groups_optimised == 0, "L-BFGS has no learning rate"


def losses_at(
    settings: EditSettings, deltas: dict[str, Tensor] | None = None
) -> dict[str, tuple[Tensor, float, int]]:
    """First fact of each group → (its δ, loss, updates) of an optimisation in fp64; with `deltas`, of one that ends in
    its first evaluation, at these δs."""
    model = tiny("llama")
    parts = locate_parts(model)
    requests = [
        EditRequest(str(index), f"{fact.before}{{}}{fact.after}", fact.subject, fact.target)
        for index, fact in enumerate(FACTS)
    ]
    groups = form_groups(tokenizer("byte-bpe"), requests, prefixes=PREFIXES, kl_prompts={}, identity={})
    found: dict[str, tuple[Tensor, float, int]] = {}
    with frozen(model), Fp64Throughout():
        optimisation = Optimisation(model, parts, groups, settings, layer=2)
        if deltas is not None:
            optimisation.gradient()  # what is kept is measured at δ = 0
            optimisation.delta = torch.stack([deltas[group.requests[0].id] for group in groups])
        optimisation.run(
            lambda group, delta: found.setdefault(
                group.requests[0].id, (delta.value, delta.loss, delta.updates)
            )
        )
    return found


BARE_FIRST = replace(CHOSEN, bare_steps=5)
ENDS = 1e9
"""A `stop_loss` that every group falls below."""


def test_the_loss_of_a_delta_that_began_without_prefixes_is_that_of_all_contexts() -> None:
    found = losses_at(BARE_FIRST)
    deltas = {name: delta for name, (delta, _, _) in found.items()}
    again = losses_at(replace(CHOSEN, stop_loss=ENDS), deltas)
    for name, (_, loss, updates) in found.items():
        assert loss == pytest.approx(again[name][1], rel=1e-9)
        assert updates == CHOSEN.steps


def test_no_group_ends_before_its_prefixes_were_evaluated() -> None:
    """All fall below `stop_loss` at once, without prefixes, and then again with them: at δ = 0 both times."""
    plain, bare = (losses_at(replace(one, stop_loss=ENDS)) for one in (CHOSEN, BARE_FIRST))
    for name, (delta, loss, updates) in bare.items():
        assert (updates, float(delta.norm())) == (1, 0.0)
        assert loss == pytest.approx(plain[name][1], rel=1e-12)


def test_a_group_that_waits_for_its_prefixes_does_not_depend_on_the_others() -> None:
    """Those below `stop_loss` wait at the δ that reached it, while the others go on."""
    model = tiny("llama")
    parts = locate_parts(model)
    texts = [("1", "{} lives in", "Rome", "Paris"), ("2", "{} is", "Zürich", "東京 ירושלים")]
    requests = [EditRequest(*text) for text in texts]
    forms = [
        form_groups(tokenizer("byte-bpe"), some, prefixes=PREFIXES, kl_prompts={}, identity={})
        for some in (requests, requests[:1], requests[1:])
    ]
    found: list[dict[str, Delta]] = []
    with frozen(model), Fp64Throughout():
        probe = Optimisation(model, parts, forms[0], BARE_FIRST, layer=2)
        probe.gradient()
        between = float(probe.loss.mean())
        assert float(probe.loss.min()) < between < float(probe.loss.max())
        for groups in forms:
            settings = replace(BARE_FIRST, stop_loss=between)
            ended: dict[str, Delta] = {}
            Optimisation(model, parts, groups, settings, layer=2).run(
                lambda group, delta, ended=ended: ended.setdefault(group.requests[0].id, delta)
            )
            found.append(ended)
    together, alone = found[0], found[1] | found[2]
    for name, delta in together.items():
        torch.testing.assert_close(delta.value, alone[name].value, rtol=1e-8, atol=1e-10)


def test_bare_steps_are_refused_where_they_cannot_work(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(SpecError, match='bare_steps = 5 needs optimiser = "lbfgs"'):
        built(tmp_path, corpus, settings=replace(BARE_FIRST, optimiser="adam"))
    with pytest.raises(SpecError, match="bare_steps = 12 must be less than steps = 12"):
        built(tmp_path, corpus, settings=replace(BARE_FIRST, bare_steps=12))


def test_bare_steps_cost_what_the_texts_without_prefixes_cost() -> None:
    parts = locate_parts(tiny("llama"))
    requests = [EditRequest("1", "{} lives in", "Rome", "Paris")]
    (whole,) = form_groups(tokenizer("byte-bpe"), requests, prefixes=PREFIXES, kl_prompts={}, identity={})
    bare = replace(whole, terms=tuple(term for term in whole.terms if term.context <= 0))
    assert len(bare.terms) == len(whole.terms) - len(PREFIXES)
    assert optimisation_flops(parts, [whole], 2, 19, bare=9) == pytest.approx(
        optimisation_flops(parts, [whole], 2, 10) + optimisation_flops(parts, [bare], 2, 10)
    )


def test_a_first_loss_that_is_not_finite_is_the_groups_own_error(tmp_path: Path, corpus: Path) -> None:
    """The self-test asks about other tokens than the one whose embedding is not a number."""
    model = tiny("llama", dtype=torch.float32)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer("byte-bpe")("Zzyx")["input_ids"][-1]] = torch.nan
    request = EditRequest("x", "{} lives in", "Zzyx", "Rome")
    with pytest.raises(NumericalError, match="not finite after 0 updates"):
        built(tmp_path, corpus, [request], replace(CHOSEN, prefixes=0), model=model)


def key_of(settings: EditSettings, prefixes: tuple[str, ...] = ("The rain",)) -> str:
    identity = identity_of(settings, base_digest="base", tokenizer="tokenizer", layer=2, prefixes=prefixes)
    (group,) = form_groups(
        tokenizer("byte-bpe"), REQUESTS[:1], prefixes=prefixes, kl_prompts={}, identity=identity
    )
    return group.key


def test_deltas_of_adam_keep_the_keys_they_were_stored_under() -> None:
    """The key as it was computed before there was another optimiser."""
    adam = EditSettings(optimiser="adam", steps=25, lr=0.5)
    assert key_of(adam) == "d55f215ca4462a43d049a3bdef13ef26ea8769eb56984033a1b90699a938dc78"
    by_lbfgs = replace(adam, optimiser="lbfgs")
    assert key_of(by_lbfgs) != key_of(adam)
    assert key_of(replace(by_lbfgs, steps=18)) != key_of(by_lbfgs)


def test_deltas_without_bare_steps_keep_the_keys_they_were_stored_under() -> None:
    by_lbfgs = EditSettings(optimiser="lbfgs", steps=18)
    assert key_of(by_lbfgs) == "e79befe0a7b54f9fb5624738cc050e87d96daeaafbc1cf8e1fe0d5758ef102f6"
    bare = replace(by_lbfgs, bare_steps=9)
    assert len({key_of(by_lbfgs), key_of(bare), key_of(replace(bare, bare_steps=6))}) == 3
    assert key_of(bare, prefixes=()) == key_of(by_lbfgs, prefixes=()), "no prefix is left out"
