"""LocFT-BF (arXiv 2509.22072): breadth-first fine-tuning of one module.

Earlier fine-tuning baselines learnt one fact after the other, each until it was learnt.  Here every epoch passes over
the whole view in shuffled mini-batches, as in ordinary training.  One matrix is trained, the down projection of
one layer; which layer and learning rate suit a model has to be searched for.  The target ends with EOS.
"""

from __future__ import annotations

from dataclasses import dataclass

from editing.baselines.fine_tuner import FineTuner
from editing.baselines.fine_tuning import TrainingPlan
from editing.baselines.locating import AUTO_LAYER
from editing.baselines.options import option


@dataclass(frozen=True)
class LocFtBfOptions:
    """Hyper-parameters of LocFT-BF; batch and epochs are the paper's."""

    layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """Layer that is trained; −1: the last of `layers`."""
    lr: float = option(5e-4, above=True)
    epochs: int = option(25, least=1)
    batch: int = option(100, least=1)
    end: int = option(1, most=1)
    """Whether EOS is appended to the target: 0 or 1."""

    def schedule(self, facts: int) -> TrainingPlan:
        """How facts are learnt, however many there are."""
        return TrainingPlan(self.lr, self.epochs, self.batch, shuffled=True, ends=bool(self.end))


LOCFT_BF = FineTuner(LocFtBfOptions).editor
