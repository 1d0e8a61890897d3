"""Finding a model's blocks, and W_out in each block, from the module tree.

A causal model is a list of blocks; a block mixes tokens (attention, a state-space layer), and then an MLP maps each
token independently and adds to the residual stream.  W_out is the linear map whose output is added: it has width
d, and is not part of the mixing.  The result is a guess from shapes and from common module names;
`self_test.py` verifies it on the model itself.  Works on the meta device.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from editing.errors import ArchitectureError

_ASIDE = re.compile(
    r"vision|visual|image|audio|speech|acoustic|depth_decoder|codec|talker|mtp|nextn|predictor|projector"
)
"""Towers that are not part of the language model."""
_MIXING = re.compile(r"attn|attention|mamba|ssm|conv|rnn|recurrent|delta|temporal|retention", re.IGNORECASE)
_MIXING_CLASS = re.compile(
    r"Attention|Attn|Mamba|Mixer|Conv(?!1D$)|DeltaNet|mLSTM|sLSTM|LSTMLayer|RGLRU|RecurrentBlock|KDA|Lightning|TimeMix"
)
"""Modules that mix information between tokens: by the name of a module, and of its class."""
_BESIDE = re.compile(
    r"router|gate$|altup|laurel|per_layer|indexer|engram|adapter|lora|norm|emb|hyper|_hc", re.IGNORECASE
)
_EXPERTS = re.compile(r"Experts|SparseMoe|MoE|Moe(?!.*(Attention|DecoderLayer))|TopKRouter")
_AFTER = re.compile(
    r"(post_?(feed_?forward|mlp|ffn|ff|ffw)\w*norm\d*)|(post_mlp_ln)|(post_norm2)", re.IGNORECASE
)
"""Names of norms between W_out and the residual stream."""
_NAMES = ("down_proj", "dense_4h_to_h", "c_proj", "fc_out", "fc2", "w2", "wo", "output_linear")
"""Names of W_out, used if more than one matrix is possible."""


@dataclass(frozen=True, slots=True)
class BlockParts:
    """The parts of one block, as paths within it."""

    writer: str | None
    """W_out; None if the block has none that can be edited."""
    norm: str | None = None
    mlp: str | None = None
    reason: str = ""
    """Why there is no W_out."""


def find_blocks(model: Any) -> str:
    """Path of the language model's list of blocks; raises ArchitectureError if nothing looks like one."""
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists: dict[str, nn.ModuleList] = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and any(map(_mixes, module))
    }
    outer = {
        path: module
        for path, module in lists.items()
        if not any(path.startswith(f"{other}.") for other in lists)
    }
    language = {path: module for path, module in outer.items() if not _ASIDE.search(path)} or outer
    fitting = {path: module for path, module in language.items() if len(module) == depth} or language
    if not fitting:
        raise ArchitectureError(
            f"{type(model).__name__} has no list of blocks in which tokens are mixed: describe it with the edit "
            "settings architecture_blocks and architecture_writer"
        )
    sizes = {path: sum(weight.numel() for weight in module.parameters()) for path, module in fitting.items()}
    return max(sizes, key=sizes.__getitem__)


def _mixes(block: nn.Module) -> bool:
    return any(_is_mixing(name.rpartition(".")[2], module) for name, module in block.named_modules() if name)


def _is_mixing(name: str, module: nn.Module) -> bool:
    kind = type(module).__name__
    if "norm" in name.lower() or kind.endswith("Norm"):
        return False
    return bool(_MIXING.search(name) or _MIXING_CLASS.search(kind))


def block_parts(block: nn.Module, width: int) -> BlockParts:
    """W_out of `block`, the norm after it and the MLP around it; or why it has none that can be edited."""
    found = list(_candidates(block, width))
    plain = [path for path in found if "expert" not in path]
    shared = [
        path for path in found if "shared" in path and "experts." not in path.replace("shared_experts.", "")
    ]
    chosen = plain or shared
    if not chosen:
        return BlockParts(None, reason=_missing(block))
    if not plain and any(re.search(r"shared_(expert_)?gate$", name) for name, _ in _inner(block)):
        return BlockParts(
            None, reason="its shared expert is weighted by a gate, and its other experts are routed"
        )
    if len(chosen) > 1:
        chosen = _by_name(chosen) or chosen
    if len(chosen) > 1:
        return BlockParts(
            None,
            reason=f"more than one matrix could be W_out ({', '.join(map(repr, chosen[:4]))}): name one with "
            "architecture_blocks and architecture_writer",
        )
    return BlockParts(chosen[0], _norm_after(block, chosen[0]), _mlp_around(block, chosen[0]))


def _inner(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in block.named_modules() if name)


def _candidates(block: nn.Module, width: int) -> Iterator[str]:
    """Linear maps into the residual stream that are not inside a module that mixes tokens."""
    for path, module in _inner(block):
        if not isinstance(module, nn.Linear | Conv1D) or out_width(module) != width:
            continue
        steps = path.split(".")
        way = [(step, block.get_submodule(".".join(steps[: index + 1]))) for index, step in enumerate(steps)]
        if not any(_is_mixing(*step) or _BESIDE.search(step[0]) for step in way) and not steps[-1].startswith(
            ("gate", "up_")
        ):
            yield path


def _by_name(paths: list[str]) -> list[str]:
    for name in _NAMES:
        named = [path for path in paths if path.rpartition(".")[2] == name]
        if named:
            return named
    narrow = [path for path in paths if path.endswith(("out", "output", "2", "output.dense"))]
    return narrow


def _missing(block: nn.Module) -> str:
    experts = sorted(
        {type(module).__name__ for _, module in _inner(block) if _EXPERTS.search(type(module).__name__)}
    )
    if experts:
        return (
            f"a mixture of experts ({experts[0]}): a key then meets several W_out, and MEMIT's least squares holds "
            "for none of them; MoE models are out of scope"
        )
    return f"no MLP writes into the residual stream ({type(block).__name__})"


def _norm_after(block: nn.Module, writer: str) -> str | None:
    for path, _ in _inner(block):
        if _AFTER.fullmatch(path.rpartition(".")[2]):
            return path
    parent = writer.rpartition(".")[0]
    beside = [
        path
        for path, module in _inner(block)
        if parent and path.rpartition(".")[0] == parent and "Norm" in type(module).__name__
    ]
    return beside[0] if parent.endswith("output") and beside else None


def _mlp_around(block: nn.Module, writer: str) -> str | None:
    """The module around W_out, if it maps each token independently and takes no other input."""
    parent = writer.rpartition(".")[0]
    if not parent or "." in parent:
        return None
    module = block.get_submodule(parent)
    leaves = [part for part in module.modules() if not list(part.children())]
    plain = all(
        isinstance(part, nn.Linear | Conv1D | nn.Dropout)
        or "ctiv" in type(part).__name__
        or type(part).__module__.startswith(("torch.nn.modules.activation", "transformers.activations"))
        for part in leaves
    )
    takes = [p for p in inspect.signature(module.forward).parameters.values() if p.default is p.empty]
    return parent if plain and len(takes) == 1 and not isinstance(module, nn.Sequential) else None


def out_width(part: Any) -> int:
    """Width of the output of a linear map."""
    return int(part.weight.shape[1] if isinstance(part, Conv1D) else part.weight.shape[0])
