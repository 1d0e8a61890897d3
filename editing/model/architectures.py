"""Table of architectures: where a model has its blocks, its MLP's W_out, and the norm that may follow it.

Nothing depends on a model's name or path: the table is keyed by `config.model_type`, and a model outside it
can be described in the settings (`architecture_blocks`, `architecture_writer`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from editing.errors import ArchitectureError
from editing.model.discovery import BlockParts, block_parts, find_blocks, out_width
from editing.settings import EditSettings


@dataclass(frozen=True, slots=True)
class Architecture:
    """Names of a model's parts, as attribute paths."""

    blocks: str
    """Path of the `ModuleList` of transformer blocks, from the causal model."""
    writer: str
    """Path of W_out within a block: the linear map whose input is the key."""
    norm: str | None = None
    """Path, within a block, of a norm applied to W_out's output before it is added to the residual stream."""
    mlp: str | None = None
    """Path, within a block, of the whole MLP, if it is a module that maps each token independently."""
    depth: tuple[float, float] = (0.12, 0.26)
    """First and last edited layer as fractions of the depth, used if the settings name none."""


EDITABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Dtypes in which a weight can be edited."""

_LLAMA = Architecture("model.layers", "mlp.down_proj", mlp="mlp")
_POST_NORM = Architecture("model.layers", "mlp.down_proj", norm="post_feedforward_layernorm", mlp="mlp")

TABLE: dict[str, Architecture] = {
    "gpt2": Architecture("transformer.h", "mlp.c_proj", mlp="mlp", depth=(0.27, 0.36)),
    "gptj": Architecture("transformer.h", "mlp.fc_out", mlp="mlp", depth=(0.11, 0.29)),
    "gpt_neox": Architecture("gpt_neox.layers", "mlp.dense_4h_to_h", mlp="mlp", depth=(0.13, 0.23)),
    "opt": Architecture("model.decoder.layers", "fc2"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _POST_NORM,
    "gemma3": replace(_POST_NORM, blocks="model.language_model.layers"),
    "gemma3_text": _POST_NORM,
    "phi": Architecture("model.layers", "mlp.fc2", mlp="mlp"),
    "phi3": _LLAMA,
    "falcon": Architecture("transformer.h", "mlp.dense_4h_to_h", mlp="mlp"),
    "stablelm": _LLAMA,
    "olmo2": _POST_NORM,
}
"""`config.model_type` → parts.  Depths follow the layers published for each family; for models with vision
(`gemma3`), the parts are those of the language model."""


POST_NORM: dict[str, str] = {
    **dict.fromkeys(("bart", "blenderbot-small", "marian", "mvp", "plbart", "trocr"), "final_layer_norm"),
    "openai-gpt": "ln_2",
}
"""Families that normalise the residual stream itself after the MLP, which the module tree does not show."""


@dataclass(frozen=True)
class Parts:
    """The parts of one loaded model."""

    architecture: Architecture
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    """The output embedding: its input is the final hidden state, its output the logits."""
    width: int
    """d, the width of the residual stream."""
    inside: tuple[BlockParts, ...]
    """The parts of each block, in the order of the blocks."""
    scale: float = 1.0
    """Factor by which every block scales its MLP's output (Granite's residual multiplier)."""

    @property
    def editable(self) -> tuple[int, ...]:
        """The layers that have a W_out: all, except in hybrid models and mixtures of experts."""
        return tuple(layer for layer, found in enumerate(self.inside) if found.writer is not None)

    def writer(self, layer: int) -> nn.Module:
        """W_out of `layer`; raises ArchitectureError if the layer has none."""
        return self.blocks[layer].get_submodule(self._writer(layer))

    def norm(self, layer: int) -> nn.Module | None:
        """The norm after W_out of `layer`, if it has one."""
        path = self.inside[layer].norm
        return None if path is None else self.blocks[layer].get_submodule(path)

    def mlp(self, layer: int) -> nn.Module | None:
        """The whole MLP of `layer`, if it is a module that maps each token independently."""
        path = self.inside[layer].mlp
        return None if path is None else self.blocks[layer].get_submodule(path)

    def gain(self, layer: int) -> float:
        """Factor by which `layer` scales its MLP's output before adding it to the block's output."""
        own = getattr(self.blocks[layer], "layer_scalar", None)  # Gemma 4
        return self.scale * (1.0 if own is None else float(own))

    def weight_name(self, layer: int) -> str:
        """Name of W_out's weight in the model's state dict."""
        return f"{self.architecture.blocks}.{layer}.{self._writer(layer)}.weight"

    def _writer(self, layer: int) -> str:
        path = self.inside[layer].writer
        if path is None:
            raise ArchitectureError(
                f"layer {layer} has no W_out that could be edited: {self.inside[layer].reason}"
            )
        return path

    def transposed(self, layer: int) -> bool:
        """Whether the weight is stored [d_k, d] (GPT-2's Conv1D) instead of [d, d_k]."""
        return isinstance(self.writer(layer), Conv1D)

    def key_width(self, layer: int) -> int:
        """d_k, the width of the keys of `layer`."""
        weight: nn.Parameter = self.writer(layer).weight  # type: ignore[assignment]
        return int(weight.shape[0] if self.transposed(layer) else weight.shape[1])

    def default_layers(self) -> tuple[int, ...]:
        """R if the settings name none: the published fraction of this depth, among the layers with a W_out."""
        first, last = (round(part * len(self.blocks)) for part in self.architecture.depth)
        within = tuple(layer for layer in self.editable if first <= layer <= max(first, last))
        below = [layer for layer in self.editable if layer < len(self.blocks) - 1]
        return within or (min(below or self.editable, key=lambda layer: abs(layer - first)),)


def locate_parts(model: Any, described: Architecture | None = None) -> Parts:
    """The parts of `model`, found in its modules or as `described`; raises ArchitectureError if it has none."""
    kind = model.config.model_type
    refuse_adapters(model)
    width = blocks_width(model)
    architecture = described or TABLE.get(kind)
    given = architecture is not None
    if architecture is None:
        architecture = Architecture(find_blocks(model), "")
    blocks = _blocks_at(architecture.blocks, model)
    head = model.get_output_embeddings()
    if head is None:
        raise ArchitectureError(f"{type(model).__name__} has no output embedding: load it as a causal LM")
    if given:
        architecture = _as_built(architecture, model.config)
        inside = (BlockParts(architecture.writer, architecture.norm, architecture.mlp),) * len(blocks)
    else:
        inside = tuple(block_parts(block, width) for block in blocks)
        if kind in POST_NORM:
            inside = tuple(replace(found, norm=POST_NORM[kind]) for found in inside)
    parts = Parts(architecture, blocks, head, width, inside, _scale(model.config))
    if not parts.editable:
        raise ArchitectureError(
            f"{kind!r} has no layer that could be edited: {inside[0].reason}. If that is wrong, describe it with the "
            "edit settings architecture_blocks (path of the list of transformer blocks) and architecture_writer "
            f"(path of the MLP's output projection within a block); {candidates(model)}"
        )
    _check_writers(parts, kind)
    return parts


def _blocks_at(path: str, model: Any) -> tuple[nn.Module, ...]:
    """The blocks in the list at `path`, at least one; raises ArchitectureError."""
    kind = model.config.model_type
    try:
        found = model.get_submodule(path)
    except AttributeError as error:
        raise ArchitectureError(f"{kind!r} has no blocks at {path!r}: {error}") from error
    if not isinstance(found, nn.ModuleList | nn.Sequential):
        raise ArchitectureError(
            f"{path!r} of {kind!r} is a {type(found).__name__}, not a list of blocks: set architecture_blocks to the "
            f"path of the list of transformer blocks; {candidates(model)}"
        )
    if not found:
        raise ArchitectureError(
            f"{kind!r} has no layers: the list of blocks at {path!r} is empty. Check num_hidden_layers in config.json"
        )
    return tuple(found)


def candidates(model: Any) -> str:
    """Modules of an unknown model that could be its blocks and their W_out, for the user to choose from."""
    width = blocks_width(model)
    found = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) < 2:
            continue
        writers = [
            name
            for name, part in module[0].named_modules()
            if isinstance(part, Conv1D | nn.Linear) and out_width(part) == width != _in_width(part)
        ]
        found.append(f"blocks {path!r} with writer {' or '.join(map(repr, writers)) or 'unknown'}")
    return f"this model has {'; '.join(found)}" if found else "this model has no list of blocks"


def _in_width(part: Any) -> int:
    return int(part.weight.shape[0] if isinstance(part, Conv1D) else part.weight.shape[1])


def described(settings: EditSettings) -> Architecture | None:
    """The architecture described in the settings, or None to use the table."""
    if not settings.architecture_blocks and not settings.architecture_writer:
        return None
    if not settings.architecture_blocks or not settings.architecture_writer:
        raise ArchitectureError(
            "the edit settings architecture_blocks and architecture_writer go together: name both or neither"
        )
    return Architecture(
        settings.architecture_blocks, settings.architecture_writer, settings.architecture_norm or None
    )


def blocks_width(model: Any) -> int:
    """d, the width of the residual stream, from the model's configuration."""
    return int(model.config.get_text_config().hidden_size)


def _scale(config: Any) -> float:
    """Granite, MiniCPM and similar models multiply the outputs of attention and MLP by a configured constant."""
    text = config.get_text_config()
    depth = getattr(text, "scale_depth", None)
    if depth:
        return float(depth) / math.sqrt(text.num_hidden_layers)
    return float(getattr(text, "residual_multiplier", None) or 1.0)


def _as_built(architecture: Architecture, config: Any) -> Architecture:
    """OPT-350m is the only OPT whose blocks end in a LayerNorm (`do_layer_norm_before` is false)."""
    if config.model_type == "opt" and not config.do_layer_norm_before:
        return replace(architecture, norm="final_layer_norm")
    return architecture


def refuse_adapters(model: Any) -> None:
    """Reject an adapter: its layers change what the weights compute, so the edit would not be the intended one."""
    adapted = [name for name, module in model.named_modules() if type(module).__module__.startswith("peft.")]
    if adapted:
        raise ArchitectureError(
            f"the model has {len(adapted)} modules of peft, such as {adapted[0] or type(model).__name__!r}: "
            "merge the adapter before the edit (model = model.merge_and_unload()), or edit the base alone"
        )


def _check_writers(parts: Parts, kind: str) -> None:
    for layer in parts.editable:
        inside = parts.inside[layer]
        for path in filter(None, (inside.writer, inside.norm, inside.mlp)):
            try:
                parts.blocks[layer].get_submodule(path)
            except AttributeError as error:
                raise ArchitectureError(
                    f"block {layer} of {kind!r} has no {path!r}: {error}; describe the architecture in the settings"
                ) from error
        writer = parts.writer(layer)
        if not _is_plain_matrix(getattr(writer, "weight", None)):
            raise ArchitectureError(
                f"{parts.weight_name(layer)} of {kind!r} is not a plain matrix (quantised, or spread over devices?): "
                "load the model whole, in fp32, bf16 or fp16"
            )


def _is_plain_matrix(weight: object) -> bool:
    """Whether an update can be written into it: no packed values, and no part of it stored elsewhere."""
    return (
        isinstance(weight, nn.Parameter)
        and type(weight.data) is Tensor
        and weight.dim() == 2
        and weight.dtype in EDITABLE
    )
