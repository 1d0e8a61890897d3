"""Keeping subjects away from the first token of a text, where many models do not read them.

Without a BOS token, the first token of a text often becomes an *attention sink*: its keys are nearly the same
whatever the token is (Xiao et al., arXiv 2309.17453).  A fact cannot be edited there, because the key does not
identify the subject, and whatever is written there reaches every text.  A neutral sentence before such a prompt
moves its subject to another position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from editing.errors import RequestError
from editing.model.architectures import Parts
from editing.model.devices import input_device
from editing.model.hooks import on_input
from editing.model.tokens import LEAD, Passage, in_context, try_locate
from editing.requests import PLACEHOLDER, render

TOKENS = 24
"""Number of tokens whose keys are compared."""
ALIKE = 0.75
"""Mean cosine of the first token's keys from which they count as nearly the same."""


def lead_of(model: Any, parts: Parts, tokenizer: Any) -> str:
    """`LEAD` if the first token of a text is an attention sink in `model`, else an empty text.

    Measured on the model: in most layers, the inputs of W_out at the first token are alike (mean cosine of at
    least `ALIKE`) and differ at most half as much as those of the same tokens later in a text.
    """
    before = [int(id) for id in tokenizer(LEAD)["input_ids"]]
    if not before or before[0] in tokenizer.all_special_ids:
        return ""  # with a BOS token, no subject is ever the first token
    rows = getattr(model.get_input_embeddings(), "num_embeddings", len(tokenizer))
    count = min(len(tokenizer), int(rows))
    tokens = torch.linspace(0.1 * count, 0.9 * count, TOKENS, device=input_device(model)).long()[:, None]
    context = torch.tensor([before], device=input_device(model)).expand(len(tokens), -1)
    first = _likeness(model, parts, tokens)
    later = _likeness(model, parts, torch.cat([context, tokens], 1))
    lost = [
        at_first >= ALIKE and 1 - at_first <= (1 - at) / 2 for at_first, at in zip(first, later, strict=True)
    ]
    return LEAD if sum(lost) > len(lost) / 2 else ""


@torch.no_grad()
def _likeness(model: Any, parts: Parts, ids: Tensor) -> list[float]:
    """For each editable layer, the mean cosine between the last token's keys of two different rows of `ids`."""
    found: dict[int, float] = {}

    def see(layer: int) -> Callable[[Tensor], None]:
        def keep(states: Tensor) -> None:
            keys = states.reshape(*ids.shape, -1)[:, -1].double()
            unit = torch.nn.functional.normalize(keys, dim=1)
            pairs = len(unit) * (len(unit) - 1)
            found[layer] = float((unit @ unit.T).sum() - unit.square().sum()) / pairs

        return keep

    with ExitStack() as stack:
        for layer in parts.editable:
            stack.enter_context(on_input(parts.writer(layer), see(layer)))
        model.base_model(input_ids=ids, use_cache=False)
    return [found[layer] for layer in sorted(found)]


def away_from_start(tokenizer: Any, lead: str, prompts: Sequence[tuple[str, str]]) -> list[str]:
    """Each of `prompts`, preceded by `lead` if its subject would end in the first token; without `lead`, as it is.

    A prompt is a (template with `{}` or rendered text, subject); one that does not begin with its subject, or that
    cannot be tokenised, is returned as it is.
    """
    kept = [prompt for prompt, _ in prompts]
    if not lead:
        return kept
    candidates: dict[int, Passage] = {}
    for index, (prompt, subject) in enumerate(prompts):
        text = render(prompt, subject) if prompt.count(PLACEHOLDER) == 1 else prompt
        begins = len(text) - len(text.lstrip())
        if subject and text.startswith(subject, begins):
            candidates[index] = Passage(text, begins + len(subject))
    found = try_locate(tokenizer, list(candidates.values()))
    for index, row in zip(candidates, found, strict=True):
        if not isinstance(row, RequestError) and row.subject == 0:
            kept[index] = in_context(lead, kept[index])
    return kept
