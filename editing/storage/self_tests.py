"""Self-tests of bases, each run once and stored under the base's digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from editing.durable import make_directory, write_file
from editing.errors import ModelError
from editing.model.architectures import Parts
from editing.model.self_test import SelfTest, SelfTestResult, self_test
from editing.model.weights import parameter_named
from editing.storage.base_import import stored_parameters

FORMAT = 1
"""Version of the self-test; raised when it tests more than before."""


def tested(model: Any, parts: Parts, base_digest: str, cache: Path) -> SelfTest:
    """The self-test of a base: from `cache`, or run now and stored.

    It is run again for other parts, another dtype or another release of transformers, since all of them affect
    what the model's code does.
    """
    content = [FORMAT, base_digest, str(model.dtype), transformers.__version__, parts.architecture.blocks]
    content += [[part.writer, part.norm] for part in parts.inside]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = cache / "self-tests" / f"{key}.json"
    kept = _kept(path)
    if kept is not None:
        return kept
    found = self_test(model, parts)
    make_directory(path.parent)
    write_file(path, (json.dumps({"base": base_digest, **asdict(found)}, indent=1) + "\n").encode())
    return found


def as_stored(directory: Path, model: Any, parts: Parts) -> SelfTestResult:
    """Whether every W_out of the loaded model is bit for bit the one stored in `directory`."""
    names = [parts.weight_name(layer) for layer in parts.editable]
    try:
        stored = stored_parameters(directory, names)
    except ModelError as error:
        return SelfTestResult("stored", False, float("inf"), str(error))
    for name, (file, there) in stored.items():
        parameter = parameter_named(model, name)
        with safe_open(file, framework="pt") as tensors:
            if not torch.equal(tensors.get_tensor(there).to(parameter.dtype), parameter.cpu()):
                return SelfTestResult(
                    "stored", False, 1.0, f"{name} in memory differs from {there} in {file.name}"
                )
    return SelfTestResult("stored", True, 0.0, "every W_out in memory has the bits of the files")


def _kept(path: Path) -> SelfTest | None:
    """None if there is no such file, or if it is damaged: the model is tested again."""
    try:
        content = json.loads(path.read_bytes())
        return SelfTest(
            verdicts=tuple(SelfTestResult(**verdict) for verdict in content["verdicts"]),
            layers=tuple(content["layers"]),
            refused={int(layer): str(reason) for layer, reason in content["refused"].items()},
            whole=str(content["whole"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
