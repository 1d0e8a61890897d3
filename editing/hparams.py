"""Importing hyper-parameter files of other editors: `hparams/*.json` of MEMIT, and EasyEdit's YAML.

Both use the names of the released implementation, which are translated into kbsync's settings here.  Keys
without a counterpart are reported with the reason, so that nobody assumes they are in force.  Torch-free.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr  # bounded: an alias in YAML can name itself
from typing import Any

import yaml  # type: ignore[import-untyped]

from editing.errors import DataError, NoSuchFile

LARGEST = 1 << 16
"""Largest hyper-parameter file, in bytes."""

NAMES: dict[str, tuple[str, type]] = {
    "v_num_grad_steps": ("steps", int),
    "v_lr": ("lr", float),
    "v_weight_decay": ("weight_decay", float),
    "clamp_norm_factor": ("clamp", float),
    "kl_factor": ("kl", float),
    "mom2_update_weight": ("lam", float),
    "mom2_n_samples": ("statistics_samples", int),
}
"""Name in the file → name of our setting, and its type."""

FIXED: dict[str, tuple[object, ...]] = {
    "fact_token": ("subject_last",),
    "layer_selection": ("all",),
    "mom2_adjustment": (True,),
    "mom2_dtype": ("float32",),
    "alg_name": ("MEMIT",),
}
"""Values that kbsync always uses; other values are not available."""

OURS = {
    "model_name": "the model is named with --model",
    "device": "the device is chosen with --device",
    "stats_dir": "statistics are kept in the home's cache",
    "mom2_dataset": "the corpus is named with --corpus",
    "max_length": "texts are read whole, up to the model's context",
    "batch_size": "batches are sized by the memory there is",
    "model_parallel": "--device auto spreads a model",
    "context_template_length_params": "see prefixes and prefix_tokens of [edit]",
    "rewrite_module_tmp": "W_out is found in the model's modules (kbsync inspect)",
    "layer_module_tmp": "blocks are found in the model's modules (kbsync inspect)",
    "mlp_module_tmp": "MLPs are found in the model's modules (kbsync inspect)",
    "attn_module_tmp": "attention is found in the model's modules",
    "ln_f_module": "the final norm is part of the model's own head",
    "lm_head_module": "the head is taken from the model",
    "v_loss_layer": "the loss is read at the model's output",
}
"""Keys whose value is decided elsewhere in kbsync, and where."""


@dataclass(frozen=True, slots=True)
class Hparams:
    """The contents of a hyper-parameter file, under our names."""

    settings: dict[str, Any]
    """Keys of [edit]."""
    ignored: dict[str, str]
    """Key → why it is not in force."""


def read_hparams(file: Path) -> Hparams:
    """Read hyper-parameters from a JSON or YAML file in the format of MEMIT's release or of EasyEdit.

    Raises DataError naming the key if a value has the wrong type or asks for another method.
    """
    settings: dict[str, Any] = {}
    ignored: dict[str, str] = {}
    for key, value in _values(file).items():
        name = str(key)
        if name in NAMES:
            ours, kind = NAMES[name]
            settings[ours] = _number(file, name, value, kind)
        elif name == "layers":
            settings["layers"] = _layers(file, value)
        elif name in FIXED:
            if value not in FIXED[name]:
                raise DataError(
                    f"{file}: {name} is {repr(value)}, but kbsync edits with {FIXED[name][0]!r} only: these "
                    "hyper-parameters belong to another method"
                )
        else:
            ignored[name] = OURS.get(name, "kbsync knows no such hyper-parameter")
    if not settings:
        raise DataError(
            f"{file} names none of {', '.join(['layers', *NAMES])}: expected a file such as hparams/MEMIT/gpt-j-6B.json"
        )
    return Hparams(settings, ignored)


def _values(file: Path) -> dict[Any, Any]:
    try:
        content = file.read_bytes()[: LARGEST + 1]
        if len(content) > LARGEST:
            raise DataError(f"{file} is larger than {LARGEST} bytes: it contains no hyper-parameters")
        values = json.loads(content) if file.suffix == ".json" else yaml.safe_load(content)
    except FileNotFoundError as error:
        raise NoSuchFile(f"there is no file {file}: name a file of hyper-parameters") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind = "JSON" if file.suffix == ".json" else "YAML"
        raise DataError(f"{file} is no {kind}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(values, dict):
        raise DataError(f'{file} contains no hyper-parameters by name: expected {{"layers": [3, 4, 5], …}}')
    return values


def _number(file: Path, key: str, value: object, kind: type) -> float | int:
    """`value` as a number; YAML reads 5e-1 as text, so text that spells a number is converted."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number: float = float(value)
        if not 0 <= number < 1e18 or (kind is int and number != int(number)):
            raise ValueError
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise DataError(f"{file}: {key} is {repr(value)}; expected {what} of at least 0") from None
    return int(number) if kind is int else number


def _layers(file: Path, value: object) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise DataError(f"{file}: layers is {repr(value)}; expected numbers of layers such as [3, 4, 5]")
    return tuple(numbers)
