"""FT-W, the fine-tuning baseline of the MEMIT paper (arXiv 2210.07229, Section 5): one layer, weight decay, early stop.

W_out of one layer is trained by Adam with an L2 penalty on −log P[o | p(s, r)], in mini-batches in the order of the
facts, until an epoch's mean loss falls below `stop_loss`.  As in the paper's experiments the penalty follows a power
law in the number n of edits, n^−0.87 · e^0.156, here times `decay`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from editing.baselines.fine_tuner import FineTuner
from editing.baselines.fine_tuning import TrainingPlan
from editing.baselines.locating import AUTO_LAYER
from editing.baselines.options import option

POWER, FACTOR = -0.87028798, math.exp(0.15589562)
"""The power law of the released hyper-parameters for GPT-J."""


@dataclass(frozen=True)
class FtWOptions:
    """Hyper-parameters of FT-W."""

    layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """Layer that is trained; −1: the last of `layers`."""
    lr: float = option(5e-4, above=True)
    epochs: int = option(25, least=1)
    batch: int = option(64, least=1)
    decay: float = option(1.0)
    """Factor of the weight decay."""
    stop_loss: float = option(0.01)

    def schedule(self, facts: int) -> TrainingPlan:
        """How `facts` facts are learnt."""
        decay = self.decay * FACTOR * max(facts, 1) ** POWER
        return TrainingPlan(self.lr, self.epochs, self.batch, weight_decay=decay, stop_loss=self.stop_loss)


FT_W = FineTuner(FtWOptions).editor
