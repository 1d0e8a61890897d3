"""Testing a model's architecture on the model itself, before it is edited.

The result of `discovery.py`, the table or the settings is an assumption about code that somebody else wrote.  It
is verified on the model with a few tokens and one or two passes: W_out's output reaches the residual stream as
predicted, no token affects an earlier one, W_out belongs to one layer only, and changing it changes nothing
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editing.errors import ArchitectureError
from editing.model.architectures import Parts
from editing.model.hooks import frozen, hidden_of, on_input, on_output
from editing.model.memory import ran_out
from editing.model.prefix_cache import deviation, prefix_cache, probe_ids, tolerance
from editing.model.weights import restored

AT = 5
"""Index of the probe's token that is written to."""
SIZE = 0.5
"""Norm of the written vector, relative to the state it is added to."""


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """The result of one test."""

    name: str
    passed: bool
    deviation: float
    """Largest difference found, relative to the largest value that was compared."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The results of all tests of a model."""

    verdicts: tuple[SelfTestResult, ...]
    layers: tuple[int, ...]
    """Layers whose W_out writes as predicted."""
    refused: dict[int, str]
    """Layer → why it cannot be edited."""
    whole: str = ""
    """Why texts are run from their first token instead of from cached keys and values; empty if they are not."""

    @property
    def passed(self) -> bool:
        """Whether the model can be edited, in `layers`."""
        return bool(self.layers) and all(verdict.passed for verdict in self.verdicts)


def self_test(model: Any, parts: Parts) -> SelfTest:
    """Test `parts` of `model`; the model is left as it was.

    A model that cannot be run on plain text fails with the error that it raised.
    """
    try:
        return _tested(model, parts)
    except Exception as error:
        if isinstance(error, RuntimeError) and ran_out(error):
            raise
        detail = f"a plain text cannot be run ({type(error).__name__}: {error})"[:300]
        return SelfTest((SelfTestResult("runs", False, float("inf"), detail),), (), {})


@torch.no_grad()
def _tested(model: Any, parts: Parts) -> SelfTest:
    with frozen(model):
        ids = probe_ids(model)
        wrote = {
            layer: _writes(model, parts, layer, ids, calls)
            for layer, calls in _calls(model, parts, ids).items()
        }
        bad = {layer: gap for layer, gap in wrote.items() if gap > tolerance(model.dtype)}
        good = tuple(layer for layer in wrote if layer not in bad)
        aliased = _aliases(model, parts)
        verdicts = (
            SelfTestResult(
                "writer",
                bool(good),
                max((wrote[layer] for layer in good), default=max(wrote.values(), default=float("inf"))),
                "what is added to W_out's output reaches the block's output as predicted, at that token alone",
            ),
            _causal(model, ids),
            _batched(model, ids),
            SelfTestResult("own", not aliased, 0.0, aliased or "no other part of the model shares W_out"),
            _frozen_rest(model, parts, good),
        )
    found = prefix_cache(model, parts)
    refused = {layer: part.reason for layer, part in enumerate(parts.inside) if part.writer is None}
    refused |= {
        layer: f"what is added to W_out's output changes the block's output otherwise than predicted (by {gap:.2g})"
        for layer, gap in bad.items()
    }
    return SelfTest(verdicts, good, dict(sorted(refused.items())), "" if found.exact else found.reason)


def check(test: SelfTest, layers: Sequence[int] = ()) -> None:
    """Raise ArchitectureError if the model failed its test, or one of `layers` did."""
    failed = [verdict for verdict in test.verdicts if not verdict.passed]
    if failed:
        what = "; ".join(
            f"{verdict.name} ({verdict.detail}; off by {verdict.deviation:.2g})" for verdict in failed
        )
        raise ArchitectureError(
            f"the model failed its self-test: {what}. It is not built as its modules suggest: describe it with the "
            "edit settings architecture_blocks, architecture_writer and architecture_norm, or edit another model"
        )
    wrong = [layer for layer in layers if layer in test.refused]
    if wrong:
        raise ArchitectureError(
            f"layer {wrong[0]} cannot be edited: {test.refused[wrong[0]]}. Layers that can: "
            + ", ".join(map(str, test.layers))
        )


@dataclass
class _Call:
    """The arguments and the output of a block in a pass."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    output: Tensor | None = None
    count: int = 0
    """Number of calls: a block that is run more than once writes more than once."""


def _calls(model: Any, parts: Parts, ids: Tensor) -> dict[int, _Call]:
    """The last call of every block that can be edited, in one pass."""
    calls: dict[int, _Call] = {layer: _Call() for layer in parts.editable}
    handles = []
    for layer, call in calls.items():

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: _Call = call) -> None:
            call.args, call.kwargs = args, kwargs

        def after(_: nn.Module, __: Any, output: Any, call: _Call = call) -> None:
            call.output = hidden_of(output)
            call.count += 1

        handles.append(parts.blocks[layer].register_forward_pre_hook(before, with_kwargs=True))
        handles.append(parts.blocks[layer].register_forward_hook(after))
    try:
        model(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _writes(model: Any, parts: Parts, layer: int, ids: Tensor, call: _Call) -> float:
    """Difference from the prediction when v is added to W_out's output at one token and the block is called again."""
    if call.count != 1 or not isinstance(call.output, Tensor) or call.output.dim() != 3:
        return float("inf")
    norm = parts.norm(layer)
    entering: list[Tensor] = []
    generator = torch.Generator().manual_seed(layer)
    drawn = torch.randn(parts.width, generator=generator, dtype=torch.float64)
    pushed: list[Tensor] = []

    def push(states: Tensor) -> Tensor:
        flat = states.clone()
        place = flat.view(-1, flat.shape[-1])[AT]
        v = (SIZE * drawn * place.double().norm().cpu() / drawn.norm()).to(place)
        pushed.append(v)
        place += v
        return flat

    with ExitStack() as stack:
        stack.enter_context(on_output(parts.writer(layer), push))
        if norm is not None:
            stack.enter_context(on_input(norm, entering.append))
        changed = hidden_of(parts.blocks[layer](*call.args, **(call.kwargs or {})))
    if len(pushed) != 1 or changed.shape[-1] != parts.width:
        return float("inf")
    moved = changed - call.output
    expected = torch.zeros_like(moved)
    if norm is None:
        expected[0, AT] = parts.gain(layer) * pushed[0]
    elif not entering:
        return float("inf")
    else:
        after = entering[0].reshape(-1, parts.width)[AT]
        expected[0, AT] = parts.gain(layer) * (norm(after[None]) - norm((after - pushed[0])[None]))[0]
    scale = call.output.abs().max().double() if model.dtype.itemsize < 4 else expected.abs().max().double()
    return float((moved - expected).double().abs().max() / scale.clamp(min=1e-30))


def _causal(model: Any, ids: Tensor) -> SelfTestResult:
    """Whether later tokens leave the logits of earlier tokens unchanged."""
    whole = model(ids, use_cache=False).logits[0]
    other = ids.clone()
    other[0, AT:] = ids[0, AT:].flip(0)
    changed = model(other, use_cache=False).logits[0]
    gap = deviation(changed[:AT], whole[:AT])
    return SelfTestResult(
        "causal", gap <= tolerance(model.dtype), gap, "what comes after a token does not change its logits"
    )


def _batched(model: Any, ids: Tensor) -> SelfTestResult:
    """Whether a row padded on the right next to another has the logits that it has alone."""
    alone = model(ids[:, : AT + 1], use_cache=False).logits[0]
    padded = ids.repeat(2, 1)
    padded[1, AT + 1 :] = 0
    beside = model(padded, use_cache=False).logits[1, : AT + 1]
    gap = deviation(beside, alone)
    return SelfTestResult(
        "batched", gap <= tolerance(model.dtype), gap, "a text beside others has the logits that it has alone"
    )


def _aliases(model: Any, parts: Parts) -> str:
    """Other users of a W_out, if any: an edit of one layer would also edit another.

    Tensors are compared by address, since a compiled block lists its weights under other names than those
    it can be looked up by.
    """
    seen: dict[int, str] = {}
    writers = {model.get_parameter(parts.weight_name(layer)).data_ptr() for layer in parts.editable}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        other = seen.setdefault(parameter.data_ptr(), name) if parameter.numel() else name
        if other != name and parameter.data_ptr() in writers:
            return f"{name} and {other} are one tensor: an edit of one layer would be an edit of the other"
    return ""


def _frozen_rest(model: Any, parts: Parts, layers: Sequence[int]) -> SelfTestResult:
    """Whether a change of one W_out changes no other tensor and can be undone bit for bit."""
    if not layers:
        return SelfTestResult("frozen", False, float("inf"), "there is no layer to change")
    name = parts.weight_name(layers[0])
    place = model.get_parameter(name).data_ptr()
    itself = {other for other, tensor in model.state_dict().items() if tensor.data_ptr() == place}
    before = {other: _sum(tensor) for other, tensor in model.state_dict().items()}
    with restored(model, [name]):
        model.get_parameter(name).add_(1.0)
        changed = {other for other, tensor in model.state_dict().items() if _sum(tensor) != before[other]}
    # What the change did not reach is not read a third time: only what was changed is written again.
    back = all(
        _sum(tensor) == before[other] for other, tensor in model.state_dict().items() if other in changed
    )
    passed = changed == itself and back
    others = ", ".join(sorted(changed - itself)[:3])
    detail = "a change of W_out changes nothing else, and can be taken back"
    return SelfTestResult(
        "frozen", passed, 0.0, detail if passed else f"a change of {name} also changes {others or 'nothing'}"
    )


def _sum(tensor: Tensor) -> str:
    """A fingerprint that shows a change, without copying the tensor."""
    return repr(float(tensor.detach().sum(dtype=torch.float64)))  # text, for which a NaN is itself
