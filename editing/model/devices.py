"""Where the parts of a model are: the only module that asks which device something lives on.

A model that is larger than a device is spread over several, block by block; accelerate's hooks move hidden states
from block to block.  What the engine adds follows one rule: ids are on the embedding's device, whatever a layer reads
or keeps (keys and values, statistics, W_out) is on that layer's, δ is on layer L's, and the loss is computed where the
logits are.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["cpu", "cuda"]

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
"""What accelerate's `device_map` calls the ways to fill all GPUs."""


def spreading(device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that spread a model over devices; empty if `device` names one.

    `device` is one of `STRATEGIES`, or several CUDA devices, separated by commas, that are filled evenly.  Nothing is
    left on the CPU or on disk, where an edit would not reach it.
    Raises RuntimeError where accelerate, the extra `devices`, is not installed, or a device does not exist.
    """
    if device not in STRATEGIES and "," not in device:
        return {}
    if find_spec("accelerate") is None:
        raise RuntimeError("a model is spread over devices by accelerate: install kbsync[devices]")
    if device in STRATEGIES:
        return {"device_map": device}
    indices = [torch.device(name.strip()).index or 0 for name in device.split(",")]
    return {
        "device_map": "balanced",
        "max_memory": {index: torch.cuda.mem_get_info(index)[0] for index in indices},
    }


def device_of(module: nn.Module) -> torch.device:
    """The device of the module's first parameter; the CPU if it has none."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def input_device(model: Any) -> torch.device:
    """The device of the embedding, which token ids have to be on."""
    return device_of(model.get_input_embeddings())


def head_device(model: Any) -> torch.device:
    """The device of the output embedding, where logits are computed."""
    return device_of(model.get_output_embeddings())


def distinct(modules: Iterable[nn.Module]) -> list[torch.device]:
    """The devices of `modules`, each once, in the order of the modules."""
    with_parameters = (module for module in modules if next(module.parameters(), None) is not None)
    return list(dict.fromkeys(map(device_of, with_parameters)))


def kind_of(device: torch.device) -> Kind:
    """Whether batches are sized for a GPU: only for CUDA; other devices count as CPUs."""
    return "cuda" if device.type == "cuda" else "cpu"


def picked(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, on the device of `values`, wherever the index is."""
    return values[index.to(values.device)]
