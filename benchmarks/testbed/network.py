"""GPT-2's forward pass over Hugging Face's own modules, with a mask for each layer.

Hugging Face's forward takes one mask for all layers.  Training needs another in the early layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel


def embed(model: GPT2LMHeadModel, ids: Tensor, positions: Tensor | None = None) -> Tensor:
    """(B, T) token ids -> (B, T, d) residual stream before the first block."""
    where = torch.arange(ids.shape[1]) if positions is None else positions
    return model.transformer.wte(ids) + model.transformer.wpe(where)


def block(model: GPT2LMHeadModel, layer: int, h: Tensor, mask: Tensor | None = None) -> Tensor:
    """One transformer block; `mask` (B, 1, T, T) is True where a query may look; None: causal."""
    part = model.transformer.h[layer]
    heads = model.config.n_head
    b, t, d = h.shape
    x = F.layer_norm(h, (d,), part.ln_1.weight, part.ln_1.bias, part.ln_1.eps)
    x = torch.addmm(part.attn.c_attn.bias, x.view(-1, d), part.attn.c_attn.weight)
    q, k, v = (y.view(b, t, heads, d // heads).transpose(1, 2) for y in x.view(b, t, 3 * d).split(d, -1))
    a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    a = a.transpose(1, 2).reshape(-1, d)
    h = h + torch.addmm(part.attn.c_proj.bias, a, part.attn.c_proj.weight).view(b, t, d)
    x = F.layer_norm(h, (d,), part.ln_2.weight, part.ln_2.bias, part.ln_2.eps)
    x = part.mlp.act(torch.addmm(part.mlp.c_fc.bias, x.view(-1, d), part.mlp.c_fc.weight))
    return h + torch.addmm(part.mlp.c_proj.bias, x, part.mlp.c_proj.weight).view(b, t, d)


def blocks(
    model: GPT2LMHeadModel,
    h: Tensor,
    layers: Sequence[int],
    masks: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Run `layers` in order."""
    for layer in layers:
        mask = None if masks is None else masks[layer]
        h = block(model, layer, h, mask)
    return h


def logits(model: GPT2LMHeadModel, h: Tensor) -> Tensor:
    """(…, d) final residual stream -> (…, V)."""
    final = model.transformer.ln_f
    return F.linear(
        F.layer_norm(h, h.shape[-1:], final.weight, final.bias, final.eps), model.transformer.wte.weight
    )
