"""What a model's configuration file states, read without loading the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""Keys under which configurations of Hugging Face models state the number of blocks."""


def layer_count(model: Path) -> int | None:
    """The number of blocks according to the model's configuration, or None."""
    try:
        config: Any = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # reported by the check of the model, or at its import
    for part in (config, config.get("text_config")) if isinstance(config, dict) else ():
        if isinstance(part, dict):
            for key in LAYER_COUNTS:
                if isinstance(part.get(key), int):
                    return int(part[key])
    return None
