"""Training MEND's editor network on facts that a model knows, each edited to another object (arXiv 2110.11309, 3.3).

Every step edits some facts at once and minimises

    c · (−log P̃[o* | x′]) + KL(P[· | x_loc] ‖ P̃[· | x_loc])

where x′ is one of a fact's wordings, x_loc a neighbour's statement, and P̃ the edited model.  Training edits several
facts at once, as the paper does where many are to be edited later.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing.baselines.features import Feature, read_features
from editing.baselines.fine_tuning import target_losses
from editing.baselines.hypernetwork import EditorNetwork, parameter_groups
from editing.baselines.locating import FactText, Place
from editing.datasets import Record
from editing.errors import DataError, NumericalError, OutOfMemory
from editing.model.devices import device_of, input_device, picked
from editing.model.hooks import on_input, on_output
from editing.model.loading import readable
from editing.model.memory import ran_out
from editing.model.passes import padded
from editing.model.tokens import Located, Passage, continued, try_locate
from editing.progress import Progress, silent

PHASE = "training"
NORMALISED_BY = 256
"""Facts whose gradients give the mean and deviation of the network's inputs."""
RATES_LR = 0.01
"""Adam's learning rate for α, as a share of its first value."""
CLIP = 100.0
"""Largest norm of the network's gradient."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a network is trained."""

    steps: int
    together: int
    """Facts that a step edits at once."""
    rank: int
    lr: float
    """Adam's learning rate."""
    edit_lr: float
    """α to begin with."""
    edit_weight: float
    """c, the weight of the edit loss."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One fact to practise on."""

    wordings: tuple[FactText, ...]
    """The new fact in all its wordings."""
    neighbours: tuple[FactText, ...]
    """True statements about other subjects."""


def lessons_of(place: Place, records: Sequence[Record]) -> list[Lesson]:
    """The records that can be tokenised and have neighbours, as tokens."""
    limit = readable(place.model)

    def texts(pairs: Sequence[tuple[str, str]]) -> tuple[FactText, ...]:
        passages = [Passage(continued(prompt, target), len(prompt), len(prompt)) for prompt, target in pairs]
        rows = try_locate(place.tokenizer, passages, limit=limit)
        return tuple(FactText(r.ids, r.subject, r.target, ()) for r in rows if isinstance(r, Located))

    found = []
    for record in records:
        target = record.request.target
        own = texts([(prompt, target) for prompt in (record.request.rendered, *record.paraphrases)])
        neighbours = texts(record.neighbours)
        if own and neighbours:
            found.append(Lesson(own, neighbours))
    return found


def train(
    place: Place, records: Sequence[Record], course: Course, seed: int, progress: Progress = silent
) -> EditorNetwork:
    """A trained network for the layers of `place`; the model's weights are left as they are.

    Raises DataError if there are too few facts, OutOfMemory, NumericalError.
    """
    lessons = lessons_of(place, records)
    if len(lessons) < course.together:
        raise DataError(
            f"MEND needs {course.together} facts with neighbours to be trained on (`together` in [edit.options]), and "
            f"there are {len(lessons)}: give more with --facts"
        )
    try:
        return _trained(place, lessons, course, seed, progress)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(
            f"the training of MEND does not fit in memory ({error}): lower together ({course.together}) or rank "
            f"({course.rank}) in [edit.options]"
        ) from error


def _trained(
    place: Place, lessons: Sequence[Lesson], course: Course, seed: int, progress: Progress
) -> EditorNetwork:
    network = new_network(place, course, seed)
    draw = random.Random(f"MEND {seed}")
    _normalise(network, place, draw.sample(lessons, min(NORMALISED_BY, len(lessons))))
    adam = torch.optim.Adam(parameter_groups(network, course.lr, RATES_LR * course.edit_lr), foreach=False)
    for step in range(course.steps):
        batch = draw.sample(lessons, course.together)
        edited = [draw.choice(lesson.wordings) for lesson in batch]
        asked = [draw.choice(lesson.wordings) for lesson in batch]
        kept = [draw.choice(lesson.neighbours) for lesson in batch]
        with torch.enable_grad():
            value = loss(network, place, edited, asked, kept, course.edit_weight)
            adam.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
        if not bool(torch.isfinite(value)):
            raise NumericalError(
                f"the loss of MEND's training is not finite at step {step}: lower lr ({course.lr:g}) in "
                "[edit.options], or load the model in fp32"
            )
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adam.step()
        progress(PHASE, step + 1, course.steps)
    return network.requires_grad_(False)


def new_network(place: Place, course: Course, seed: int) -> EditorNetwork:
    """An untrained network for the layers of `place`, in fp32 or better."""
    widths = {place.parts.key_width(layer) for layer in place.layers}
    if len(widths) > 1:
        raise DataError(
            f"the layers {place.layers} have W_out of different shapes: choose layers of one shape"
        )
    dtype = torch.promote_types(place.model.dtype, torch.float32)
    generator = torch.Generator().manual_seed(seed)
    network = EditorNetwork(
        widths.pop(), place.parts.width, len(place.layers), course.rank, course.edit_lr, generator
    )
    return network.to(device=device_of(place.parts.blocks[place.layer]), dtype=dtype)


def _normalise(network: EditorNetwork, place: Place, lessons: Sequence[Lesson]) -> None:
    some = [lesson.wordings[0] for lesson in lessons]
    size = 32
    found = [
        feature
        for start in range(0, len(some), size)
        for feature in read_features(place, some[start : start + size], whole=True)
    ]
    for index, layer in enumerate(place.layers):
        network.normalise(index, *_joined(found, layer))


def _joined(features: Sequence[Feature], layer: int) -> tuple[Tensor, Tensor]:
    """(u, δ) of all tokens of several texts."""
    return torch.cat([one[layer][0] for one in features]), torch.cat([one[layer][1] for one in features])


def loss(
    network: EditorNetwork,
    place: Place,
    edited: Sequence[FactText],
    asked: Sequence[FactText],
    kept: Sequence[FactText],
    edit_weight: float,
) -> Tensor:
    """The training loss of one step: `edited` are edited together, `asked` should then be said, `kept` stay."""
    features = read_features(place, edited, whole=True)
    updates = {
        layer: network.update(index, *_joined(features, layer)) for index, layer in enumerate(place.layers)
    }
    with torch.no_grad():
        before = _log_probabilities(place, kept)
    with updated(place, updates):
        said = target_losses(place, asked).mean()
        after = _log_probabilities(place, kept)
    stayed = (before.exp() * (before - after)).sum(-1).mean()
    return edit_weight * said + stayed


def _log_probabilities(place: Place, texts: Sequence[FactText]) -> Tensor:
    """log P of the next token at every token of `texts`: [tokens, V], in fp32 or better."""
    ids, lengths = padded([text.ids for text in texts], input_device(place.model))
    real = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    logits = place.model(input_ids=ids, use_cache=False).logits
    logits = picked(logits, real)
    found: Tensor = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return found


@contextmanager
def updated(place: Place, updates: Mapping[int, Tensor]) -> Iterator[None]:
    """Inside the block W_out of each layer is W + Δ, and gradients reach Δ; `updates`: layer → Δᵀ [d_k, d]."""
    with ExitStack() as stack:
        for layer, update in updates.items():
            writer = place.parts.writer(layer)
            read: list[Tensor] = []

            def see(states: Tensor, read: list[Tensor] = read) -> None:
                read.append(states)

            def add(written: Any, read: list[Tensor] = read, update: Tensor = update) -> Any:
                return written + read.pop() @ update.to(written)

            stack.enter_context(on_input(writer, see))
            stack.enter_context(on_output(writer, add))
        yield
