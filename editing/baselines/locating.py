"""Where an editor works in a model, and its facts as tokens: what every baseline begins with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from editing.editors.contract import BuildInputs, Failed
from editing.errors import RequestError
from editing.memit.groups import locate_requests
from editing.memit.preparation import chosen_layers
from editing.model.architectures import Parts, described, locate_parts
from editing.model.devices import distinct
from editing.model.first_token import lead_of
from editing.model.loading import readable
from editing.model.memory import free_bytes
from editing.model.self_test import check
from editing.storage.self_tests import tested

AUTO_LAYER = -1
"""The option `layer` of an editor of one layer, if it is not set: L, the last of R."""


@dataclass(frozen=True, slots=True)
class FactText:
    """One fact, prompt and target, as tokens; requests with the same text are one."""

    ids: tuple[int, ...]
    subject: int
    """Index of the subject's last token."""
    target: int
    """Index of the target's first token."""
    requests: tuple[str, ...]
    """Ids of the requests."""

    def ending(self, end: int | None) -> FactText:
        """The text followed by the token `end`, if there is one."""
        return self if end is None else replace(self, ids=(*self.ids, end))


@dataclass(frozen=True)
class Place:
    """The layers of a model whose W_out is edited."""

    model: Any
    tokenizer: Any
    parts: Parts
    layers: tuple[int, ...]
    """Ascending."""

    @property
    def layer(self) -> int:
        """The last of them."""
        return self.layers[-1]

    def topmost(self) -> Place:
        """The last layer alone."""
        return replace(self, layers=self.layers[-1:])

    @property
    def name(self) -> str:
        """State-dict name of W_out of the last layer."""
        return self.parts.weight_name(self.layer)

    @property
    def end(self) -> int | None:
        """The tokenizer's EOS."""
        return self.tokenizer.eos_token_id  # type: ignore[no-any-return]

    @cached_property
    def _token_bytes(self) -> int:
        """Memory of one token in a pass whose activations from the first layer on are kept."""
        above = len(self.parts.blocks) - self.layers[0]
        width, key = self.parts.width, self.parts.key_width(self.layer)
        return int(above * (16 * width + 8 * key) * self.model.dtype.itemsize)

    def text_bytes(self, text: FactText) -> int:
        """Memory of one text in such a pass, with its logits."""
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        return len(text.ids) * self._token_bytes + 4 * (len(text.ids) - text.target) * vocabulary * 4

    def free_bytes(self) -> int:
        """Memory that such a pass may use: that of the fullest of the model's devices."""
        return min(map(free_bytes, distinct(self.parts.blocks)))

    def editable_bytes(self) -> int:
        """Bytes of all matrices that a checkpoint changes."""
        widths = sum(self.parts.key_width(layer) for layer in self.parts.editable)
        return int(widths * self.parts.width * self.model.dtype.itemsize)


def place_of(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    *,
    first: int = AUTO_LAYER,
    last: int = AUTO_LAYER,
    whole: bool = False,
) -> Place:
    """Where an editor works: in the layers from `first` to `last`, or where these are not set, in those of R.

    `whole`: whether the last block can be edited, by an editor that also writes where the target is predicted.

    Raises ArchitectureError if the model fails its self-test there, and RequestError for layers that it does not have.
    """
    parts = locate_parts(model, described(inputs.settings))
    settings = inputs.settings
    if (first, last) != (AUTO_LAYER, AUTO_LAYER):
        r = chosen_layers(parts, settings)
        bottom, top = r[0] if first == AUTO_LAYER else first, r[-1] if last == AUTO_LAYER else last
        if bottom > top:
            raise RequestError(
                f"the first layer, {bottom}, is above the last one, {top}: set both in [edit.options]"
            )
        settings = replace(settings, layers=tuple(range(bottom, top + 1)))
    layers = chosen_layers(parts, settings, last=whole)
    check(tested(model, parts, inputs.base_digest, inputs.cache), layers)
    return Place(model, tokenizer, parts, layers)


def locate_facts(place: Place, inputs: BuildInputs, failed: Failed | None) -> list[FactText]:
    """The texts of all requests that can be edited, in the order of the requests.

    A request that cannot be tokenised is reported to `failed` and left out, or raises RequestError.
    """
    if not inputs.requests:
        raise RequestError("no requests: there is nothing to build")
    lead = inputs.lead
    if lead is None:
        lead = lead_of(place.model, place.parts, place.tokenizer)
    limit = replace(readable(place.model), lead=lead)
    found = locate_requests(place.tokenizer, inputs.requests, limit=limit, failed=failed)
    ids: dict[tuple[int, ...], list[str]] = {}
    places: dict[tuple[int, ...], tuple[int, int]] = {}
    for request, (_, rows) in found.items():
        ids.setdefault(rows[0].ids, []).append(request.id)
        places.setdefault(rows[0].ids, (rows[0].subject, rows[0].target))
    return [FactText(text, *places[text], tuple(requests)) for text, requests in ids.items()]
