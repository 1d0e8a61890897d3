"""Hyper-parameters of MEMIT, as one frozen value that is part of cache keys.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True)
class EditSettings:
    """Names follow the paper where it has one; docs/engine.md explains the defaults."""

    layers: tuple[int, ...] = ()
    """R, ascending; empty: chosen from the architecture's table and depth."""
    optimiser: Literal["adam", "lbfgs"] = "adam"
    """How δ is found: `adam` as in the paper, or `lbfgs`, which needs a third of the steps (docs/engine.md)."""
    steps: int = 25
    """Number of losses evaluated per δ; Adam, as in the released implementation, skips the last one."""
    bare_steps: int = 0
    """How many of them leave out the prompts with a prefix, which costs less; with `lbfgs` only (docs/engine.md)."""
    lr: float = 0.5
    """Adam's learning rate."""
    clamp: float = 0.75
    """‖δ‖ ≤ clamp · ‖h‖ at the target layer."""
    kl: float = 0.0625
    weight_decay: float = 0.5
    stop_loss: float = 0.05
    """A row whose total loss falls below this leaves the batch."""
    lam: float | Literal["auto"] = AUTO
    """λ of Eqn. 15; `auto`: derived from the leverage of the edited keys, once the statistics are known
    (`editing/memit/leverage.py`).  The paper uses 15,000 for GPT-J and 20,000 for GPT-2 XL."""
    ridge: float = 0.0
    """Added to the diagonal of E[k kᵀ], relative to its mean: protects directions that scarce text never showed."""
    keys: Literal["average", "all"] = "all"
    """One key column per group, averaged over contexts (19), or one for every context, which measured better
    and is the default (docs/engine.md)."""
    keep: float = 0.0
    """Weight of the keys that should stay as they are: of edited subjects in sentences about their other relations, and
    of other subjects (`editing/memit/kept.py`); 1 weighs such a sentence as much as an edit."""
    prefixes: int = 5
    prefix_tokens: int = 10
    long_prefixes: int = 0
    """Number of further contexts, of up to 50 tokens, so that an edit also holds behind longer text
    (`editing/memit/prefixes.py`)."""
    statistics_samples: int = 1_000
    statistics_tokens: int = 256
    """Longest text read for the statistics, in tokens; limited by the model's window."""
    statistics_field: str = "text"
    """Name of the field that holds the text in JSONL, Parquet and Arrow files."""
    statistics_chat: float = 0.0
    """Share of a corpus' samples that are put through the chat template, if there is one
    (`editing/memit/conversing.py`); of the model's own samples, half always are."""
    seed: int = 0
    chat: bool = True
    """Whether facts are also edited as questions, if the tokenizer has a chat template."""
    end_token: Literal["none", "questions", "all"] = "none"
    """Which targets are optimised together with the token that ends an answer (`editing/memit/ends.py`)."""
    architecture_blocks: str = ""
    """Path of the list of blocks, for a model that is not in the table of architectures."""
    architecture_writer: str = ""
    """Path of the MLP's output projection within a block."""
    editor: str = "memit"
    """Name of the editor that turns a view into weights (`editing/editors`)."""
    options: dict[str, float] = field(default_factory=dict)
    """Hyper-parameters of editors other than MEMIT, by name."""
    architecture_norm: str = ""
    """Path, within a block, of a norm that follows it, if there is one."""

    def flaw(self) -> str:
        """What is wrong with these settings together; empty if nothing is."""
        if self.bare_steps and self.optimiser != "lbfgs":
            return f"bare_steps = {self.bare_steps} needs optimiser = \"lbfgs\": Adam's steps are the paper's"
        if self.bare_steps >= self.steps:
            return f"bare_steps = {self.bare_steps} must be less than steps = {self.steps}: the last are of all texts"
        return ""
