"""What a report was made with: the versions of the libraries, the device and the precision."""

from __future__ import annotations

import platform
from typing import Any

import safetensors
import torch
import transformers

from editing.model.devices import distinct


def versions_of(model: Any) -> dict[str, str]:
    """The versions and the machine's settings that a build's last bits depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "device": ", ".join(map(str, distinct(model.modules()))),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
    }
