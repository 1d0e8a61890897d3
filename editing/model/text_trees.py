"""Short texts that begin alike, run in one pass as a tree: every beginning is run once, whoever shares it.

The questions of an exam are few templates with many subjects, each continued by several targets.  As a prefix tree in
which a token attends to its ancestors only (the tree attention of SpecInfer, arXiv 2305.09781, §4.2), they have less
than half of the tokens that they have as padded rows.  A token's logits depend on its ancestors as they depend on the
text before it, as long as nothing but attention links tokens; `reads_trees` tests that by running the model.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from editing.model.caching import takes
from editing.model.devices import input_device, kind_of
from editing.model.hooks import frozen
from editing.model.passes import Ids
from editing.model.prefix_cache import deviation, probe_ids, tolerance

NODES = 512
"""Tokens of a tree: attention, which here grows with their square, is still a fraction of a pass."""
SAVING, LEAST = 0.75, 2 * NODES
"""Texts are run as trees that have at most this share of their tokens, and save at least so many: the test of a model
is a pass over a tree."""


@dataclass
class TextTree:
    """The prefix tree of some texts; node by node, each after its parent."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    """−1 for the first token of a text."""
    depths: list[int] = field(default_factory=list)
    """Positions in the text."""
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, text: Ids) -> list[int]:
        """The node of each token of `text`."""
        path, parent = [], -1
        for depth, id in enumerate(text):
            node = self._children.get((parent, id))
            if node is None:
                node = self._children[parent, id] = len(self.ids)
                self.ids.append(id)
                self.parents.append(parent)
                self.depths.append(depth)
            path.append(node)
            parent = node
        return path

    def mask(self, dtype: torch.dtype) -> Tensor:
        """[N, N], to be added to attention scores: 0 for a node's ancestors and itself, else the lowest number."""
        seen = torch.eye(len(self.ids), dtype=torch.bool).numpy()
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        lowest = torch.finfo(dtype).min
        return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~torch.from_numpy(seen), lowest)


def in_trees(texts: Sequence[Ids], nodes: int = NODES) -> Iterator[list[int]]:
    """Indices of `texts`, those that begin alike together, for trees of at most `nodes` (more for a longer text)."""
    batch: list[int] = []
    size = 0
    before: Ids = ()
    for index in sorted(range(len(texts)), key=lambda index: texts[index]):
        text = texts[index]
        more = len(text) - _alike(before, text)
        if batch and size + more > nodes:
            yield batch
            batch, size, more = [], 0, len(text)
        batch.append(index)
        size, before = size + more, text
    if batch:
        yield batch


def saves_tokens(model: Any, texts: Sequence[Ids]) -> bool:
    """Whether `model` can read `texts` as trees, and should: on a GPU, batches of padded rows are no slower."""
    if kind_of(input_device(model)) != "cpu":
        return False
    ordered, tokens = sorted(texts), sum(map(len, texts))
    shared = sum(_alike(one, other) for one, other in pairwise(ordered))
    if shared < max(LEAST, (1 - SAVING) * tokens):
        return False
    # A mask that is given replaces that of a sliding window.
    return max(map(len, texts)) <= min(NODES, attention_span(model)) and reads_trees(model)


def logits_at(model: Any, tree: TextTree, nodes: Sequence[int]) -> Tensor:
    """The logits [n, V] that follow each of `nodes`."""
    device = input_device(model)
    read = torch.tensor(nodes, device=device)
    given = {
        "input_ids": torch.tensor([tree.ids], device=device),
        "attention_mask": tree.mask(model.dtype)[None, None].to(device),
        "position_ids": torch.tensor([tree.depths], device=device),
        "use_cache": False,
    }
    if takes(model, "logits_to_keep"):
        logits: Tensor = model(**given, logits_to_keep=read).logits[0]
        return logits
    whole: Tensor = model(**given).logits[0]
    return whole[read.to(whole.device)]


def attention_span(model: Any) -> int:
    """Smallest number of tokens that attention covers; a large number if there is no window."""
    config = model.config.get_text_config()
    spans = (getattr(config, name, None) or 0 for name in ("sliding_window", "attention_chunk_size"))
    return min((max(int(span), 1) for span in spans if span > 0), default=1 << 30)


def _alike(one: Ids, other: Ids) -> int:
    """Number of first tokens that two texts have in common."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


_found: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def reads_trees(model: Any) -> bool:
    """Whether the logits of texts in a tree are those of the texts alone; each model is tested once."""
    if model not in _found:
        with frozen(model), torch.no_grad():
            _found[model] = takes(model, "position_ids") and _probe(model)
    return _found[model]


def _probe(model: Any) -> bool:
    """Two texts that part in the middle, in a tree of the largest size, with as many nodes as that takes in between.

    Attention that counts a window by the places in a pass, whatever mask it is given, does not reach over them.
    """
    ids = tuple(probe_ids(model)[0].tolist())
    texts = [ids, (*ids[:4], *reversed(ids[4:]))]
    words = min(NODES - 2 * len(ids), int(model.get_input_embeddings().weight.shape[0]))
    tree = TextTree()
    first = tree.add(texts[0])
    for word in range(words):
        tree.add((ids[0], word))
    try:
        found = logits_at(model, tree, [*first, *tree.add(texts[1])])
    except Exception:  # noqa: BLE001  (any model's code: what it cannot read as a tree, it reads as rows)
        return False
    device = input_device(model)
    alone = [model(torch.tensor([text], device=device), use_cache=False).logits[0] for text in texts]
    return deviation(found, torch.cat(alone)) <= tolerance(model.dtype)
