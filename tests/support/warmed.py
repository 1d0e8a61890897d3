"""What every worker would do once in its life, done by the server from which the tests' workers are forked.

Its modules are imported, transformers' table of conversions is built by loading a model, and the machine's
matrix rate is measured: of a build of a tiny model, that is more than half.  Nothing here computes a gradient,
because autograd's threads would not survive a fork.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import editing.evaluation.isolated
import editing.memit.build
import editing.worker.rounds  # noqa: F401
from editing.memit.cost import machine_rate
from editing.model.loading import load_model
from tests.support.tiny_models import gpt2, save

torch.set_num_threads(1)
state = torch.get_rng_state()
with TemporaryDirectory() as directory:
    load_model(save(gpt2(), Path(directory)))
torch.set_rng_state(state)
machine_rate(torch.device("cpu"), torch.float32)
