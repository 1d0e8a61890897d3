"""MEND (arXiv 2110.11309) as an editor: a trained network turns the gradient of each fact into an update.

The network (`hypernetwork.py`, `mend_training.py`) is trained once for a base and stored in the cache.  There are two:
each is trained on the facts of one half of the subjects, and edits facts of the other half, so that no fact is ever
edited by a network that was trained on its subject.  Many facts are edited by the sum of their updates.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.baselines.features import FeatureStore
from editing.baselines.gradients import GradientEditor, GradientTurn
from editing.baselines.hypernetwork import EditorNetwork
from editing.baselines.locating import AUTO_LAYER, FactText, Place, locate_facts, place_of
from editing.baselines.mend_training import Course, new_network, train
from editing.baselines.options import option, read_options
from editing.datasets import Record
from editing.editors.contract import BuildInputs, Failed
from editing.errors import DataError
from editing.memit import tensor_cache
from editing.model.architectures import described, locate_parts
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.tokens import tokenizer_digest
from editing.progress import Progress, silent

FORMAT = 1
"""Version of stored networks; raised when their meaning changes."""
FOLDER = "networks"
"""Folder of the cache."""
HALVES = 2
LAST = 3
"""Layers that are edited by default, from the last one down, as in the paper; half of a model with fewer than six."""


@dataclass(frozen=True)
class MendOptions:
    """Hyper-parameters of MEND; all but `scale` belong to the training of its network."""

    first_layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """First layer that is edited; −1: chosen from the depth."""
    last_layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """Last layer that is edited; −1: the last one."""
    scale: float = option(1.0, above=True)
    """Factor of the learned step α."""
    steps: int = option(400, least=0)
    together: int = option(16, least=1)
    """Facts that a training step edits at once."""
    rank: int = option(128, least=1)
    lr: float = option(3e-4, above=True)
    """Adam's learning rate."""
    edit_lr: float = option(1e-3, above=True)
    """α to begin with."""
    edit_weight: float = option(0.2, above=True)
    """Weight of the edit loss; that of the locality loss is 1."""

    def course(self) -> Course:
        """How the network is trained."""
        return Course(self.steps, self.together, self.rank, self.lr, self.edit_lr, self.edit_weight)


@dataclass(frozen=True)
class Trained:
    """The networks of a base."""

    networks: tuple[EditorNetwork, ...]
    """By half; the network of a half was trained on subjects of that half."""
    content: str
    """Content key: a digest of the base, the options, the seed and the facts that they were trained on."""
    facts: int
    """Facts that they were trained on."""
    seconds: float
    """What their training took."""

    def of(self, subject: str) -> EditorNetwork:
        """The network that was trained without this subject."""
        return self.networks[1 - half_of(subject)]


def half_of(subject: str) -> int:
    """0 or 1, by a digest of the subject."""
    return hashlib.sha256(subject.encode()).digest()[0] % HALVES


@dataclass(frozen=True)
class NetworkStore:
    """Where the networks of a place are stored; there is at most one pair for each base, options and seed."""

    place: Place
    folder: Path
    identity: str
    course: Course
    seed: int

    @classmethod
    def of(cls, place: Place, inputs: BuildInputs, options: MendOptions) -> NetworkStore:
        parts = [
            FORMAT,
            inputs.base_digest,
            tokenizer_digest(place.tokenizer),
            str(place.model.dtype),
            place.layers,
            asdict(options.course()),
            inputs.settings.seed,
        ]
        identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return cls(place, inputs.cache / FOLDER, identity, options.course(), inputs.settings.seed)

    def find(self) -> Trained | None:
        """The trained networks; None if there are none, or if they are damaged.

        Raises DataError if there are several, since a view's weights would depend on which is taken.
        """
        files = sorted(self.folder.glob(f"{self.identity}-*.safetensors"))
        if len(files) > 1:
            raise DataError(
                f"{len(files)} networks of MEND were trained on different facts: keep one of "
                + " and ".join(map(str, files))
            )
        return self._read(files[0]) if files else None

    def _read(self, file: Path) -> Trained | None:
        found = tensor_cache.load(file, str(device_of(self.place.parts.blocks[self.place.layer])))
        if found is None:
            return None
        tensors, about = found
        networks = []
        for half in range(HALVES):
            network = new_network(self.place, self.course, self.seed).requires_grad_(False)
            network.load_state_dict({name: tensors[f"{half}.{name}"] for name in network.state_dict()})
            networks.append(network)
        return Trained(
            tuple(networks), file.stem.rpartition("-")[2], int(about["facts"]), float(about["seconds"])
        )

    def write(self, networks: Sequence[EditorNetwork], data: str, facts: int, seconds: float) -> Trained:
        """Store networks that were trained on facts with the digest `data`."""
        content = hashlib.sha256(f"{self.identity}\0{data}".encode()).hexdigest()
        tensors = {
            f"{half}.{name}": tensor
            for half, network in enumerate(networks)
            for name, tensor in network.state_dict().items()
        }
        about = {"facts": str(facts), "seconds": f"{seconds:.1f}"}
        tensor_cache.store(self.folder / f"{self.identity}-{content}.safetensors", tensors, about)
        return Trained(tuple(networks), content, facts, seconds)


def train_networks(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    records: Sequence[Record],
    progress: Progress = silent,
) -> Trained:
    """The networks of MEND for a base and the options in `inputs`: those in the cache, or trained now on `records`.

    The requests of `inputs` play no part.  A record's neighbours should be of its own half of the subjects (`half_of`)
    where they are to be judged later.  Raises DataError, OutOfMemory, NumericalError.
    """
    with frozen(model), fused(model):
        place, options = _place(model, tokenizer, inputs)
        store = NetworkStore.of(place, inputs, options)
        found = store.find()
        if found is not None:
            return found
        began = time.perf_counter()
        networks = []
        for half in range(HALVES):
            own = [record for record in records if half_of(record.request.subject) == half]
            networks.append(train(place, own, store.course, store.seed, _part(progress, half)))
        text = json.dumps([asdict(record) for record in records], sort_keys=True, default=str)
        data = hashlib.sha256(text.encode()).hexdigest()
        return store.write(networks, data, len(records), time.perf_counter() - began)


def trained_networks(model: Any, tokenizer: Any, inputs: BuildInputs) -> Trained | None:
    """The networks that an edit with `inputs` would use; None if none have been trained."""
    place, options = _place(model, tokenizer, inputs)
    return NetworkStore.of(place, inputs, options).find()


def _part(progress: Progress, half: int) -> Progress:
    return lambda phase, done, total: progress(phase, half * total + done, HALVES * total)


def _place(model: Any, tokenizer: Any, inputs: BuildInputs) -> tuple[Place, MendOptions]:
    options = read_options(MendOptions, inputs.settings)
    editable = locate_parts(model, described(inputs.settings)).editable
    chosen = editable[-max(1, min(LAST, len(editable) // 2)) :]
    first, last = options.first_layer, options.last_layer
    last = chosen[-1] if last == AUTO_LAYER else last
    first = min(chosen[0], last) if first == AUTO_LAYER else first
    return place_of(model, tokenizer, inputs, first=first, last=last, whole=True), options


def prepare_turn(model: Any, tokenizer: Any, inputs: BuildInputs, failed: Failed | None) -> GradientTurn:
    """Tokenise the requests, and look up the networks and the features of the facts."""
    place, options = _place(model, tokenizer, inputs)
    trained = NetworkStore.of(place, inputs, options).find()
    if trained is None:
        raise DataError(
            "MEND has no network for this model and these options yet: `kbsync bench editors --editors memit,mend`, "
            "with the same model and home, trains one and measures it"
        )
    texts, store = locate_facts(place, inputs, failed), FeatureStore.of(place, inputs, whole=True)
    subjects = {request.id: request.subject for request in inputs.requests}
    both, rows = place.parts.key_width(place.layer) + place.parts.width, sum(map(store.count, texts))
    products = 8 * both * min(options.rank, both) + 2 * place.parts.key_width(place.layer) * place.parts.width
    return GradientTurn(
        place,
        texts,
        store,
        partial(updates, store=store, trained=trained, subjects=subjects, scale=options.scale),
        solve_flops=float(len(place.layers)) * rows * products,
        solve_bytes=3 * 8 * len(place.layers) * place.parts.key_width(place.layer) * place.parts.width,
    )


@torch.no_grad()
def updates(
    texts: Sequence[FactText],
    progress: Progress = silent,
    *,
    store: FeatureStore,
    trained: Trained,
    subjects: dict[str, str],
    scale: float,
) -> dict[int, Tensor]:
    """Layer → Δᵀ [d_k, d] in fp64: the sum of the updates of all texts, times `scale`."""
    found: dict[int, Tensor] = {}
    for done, text in enumerate(texts, start=1):
        network = trained.of(subjects[text.requests[0]])
        features = store.read(text)
        for index, layer in enumerate(store.place.layers):
            update = scale * network.update(index, *features[layer]).double().to(features[layer][0].device)
            found[layer] = found[layer] + update if layer in found else update
        progress("keys", done, len(texts))
    return found


MEND = GradientEditor(prepare_turn).editor
"""The gradient of a fact depends on the base and on its text, and the network is the base's."""
