"""Context managers that observe a model's activations, or skip parts of it.

Every hook is removed when its block ends, also after an error.  Blocks of some architectures return a tensor
and of others a tuple or list that begins with it; `hidden_of` and `with_hidden` hide the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from editing.model.devices import input_device


class StopForward(Exception):
    """Raised inside a forward pass once everything that is needed has been computed."""


def hidden_of(output: Any) -> Tensor:
    """The hidden state in the output of a block."""
    return output[0] if isinstance(output, tuple | list) else output  # type: ignore[no-any-return]


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """`output` of a block with its hidden state replaced."""
    return type(output)([hidden, *output[1:]]) if isinstance(output, tuple | list) else hidden


@contextmanager
def on_input(module: nn.Module, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `see` with the module's first input; a result other than None replaces the input."""

    def hook(_: nn.Module, args: tuple[Any, ...]) -> Any:
        seen = see(args[0])
        return None if seen is None else (seen, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def on_output(module: nn.Module, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call `see` with the module's hidden state; a result other than None replaces it."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        seen = see(hidden_of(output))
        return None if seen is None else with_hidden(output, seen)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def only_at(module: nn.Module, row: Tensor, position: Tensor) -> Iterator[None]:
    """Run a module that maps each token independently only at [row, position]; elsewhere it returns zeros."""
    shape: list[torch.Size] = []

    def gather(states: Tensor) -> Tensor:
        shape.append(states.shape)
        return states[row.to(states.device), position.to(states.device)][None]

    def scatter(states: Tensor) -> Tensor:
        place = row.to(states.device), position.to(states.device)
        return states.new_zeros(*shape.pop()[:2], states.shape[-1]).index_put(place, states[0])

    with on_input(module, gather), on_output(module, scatter):
        yield


@contextmanager
def stopped_after(block: nn.Module) -> Iterator[None]:
    """End the forward pass inside this block when `block` has returned (register other hooks first)."""

    def hook(*_: Any) -> None:
        raise StopForward

    handle = block.register_forward_hook(hook)
    try:
        yield
    except StopForward:
        pass
    finally:
        handle.remove()


@torch.no_grad()
def returns_tuple(model: Any, block: nn.Module) -> bool:
    """Whether `block` returns a tuple that begins with the hidden state, tested with one token."""
    seen: list[bool] = []
    handle = block.register_forward_hook(lambda _, __, output: seen.append(isinstance(output, tuple)))
    try:
        with stopped_after(block):
            model.base_model(torch.zeros(1, 1, dtype=torch.long, device=input_device(model)), use_cache=False)
    finally:
        handle.remove()
    return seen[0]


@contextmanager
def instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the module's own `forward` inside the block.

    Afterwards the module is as it was: accelerate, for example, sets a `forward` on modules itself.
    """
    own = vars(module)
    before = own.get("forward")
    own["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del own["forward"]
        else:
            own["forward"] = before


@contextmanager
def bypassed(blocks: Iterable[nn.Module], *, tuples: bool) -> Iterator[None]:
    """Make `blocks` return their input; `tuples`: whether blocks of this model return tuples."""

    def passed(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden_states, None) if tuples else hidden_states

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(instead(block, passed))
        yield


@contextmanager
def starting_with(states: Tensor, below: Sequence[nn.Module], *, tuples: bool) -> Iterator[None]:
    """Forward passes start above the blocks `below`, with `states` as their output; without any, as usual."""
    with ExitStack() as stack:
        if below:
            stack.enter_context(bypassed(below, tuples=tuples))
            stack.enter_context(on_output(below[-1], lambda _: states))
        yield


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Activations that are implemented in elementary steps run as one kernel inside the block.

    The function is the same: GPT-2's and GPT-J's "gelu_new" is the tanh approximation of GELU.  The elementary
    steps took half of an optimisation's time on a CPU.
    """

    def gelu(states: Tensor) -> Tensor:
        return nn.functional.gelu(states, approximate="tanh")

    with ExitStack() as stack:
        for module in model.modules():
            written_out = type(module).__name__ in ("NewGELUActivation", "FastGELUActivation")
            if written_out and "forward" not in vars(module):  # it has no forward of its own
                stack.enter_context(instead(module, gelu))
        yield


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """What `torch.compile` made of the model or its parts runs uncompiled inside the block: hooks are then called."""
    compiled = any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient, dropout and autocast are off, and nothing runs compiled inside.

    All is restored afterwards.
    """
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    for parameter in asked:
        parameter.requires_grad_(False)
    model.eval()
    try:
        with uncompiled(model), _in_own_dtype(model):
            yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def _in_own_dtype(model: nn.Module) -> Iterator[None]:
    """Turn autocast off, which a caller may have turned on: cached results do not depend on the caller."""
    with ExitStack() as stack:
        for kind in {"cpu", *(parameter.device.type for parameter in model.parameters())} - {"meta"}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def injected(block: nn.Module, rows: Tensor, positions: Tensor, deltas: Tensor) -> Iterator[None]:
    """Add `deltas` [n, d] to the output of `block` at (row, position), as in Eqn. 16.

    This tests a group's δ alone, without changing any weight.
    """

    def see(hidden: Tensor) -> Tensor:
        added = hidden.to(torch.promote_types(hidden.dtype, deltas.dtype)).clone()
        there = hidden.device
        added[rows.to(there), positions.to(there)] += deltas.to(there)
        return added.to(hidden.dtype)

    with on_output(block, see):
        yield
