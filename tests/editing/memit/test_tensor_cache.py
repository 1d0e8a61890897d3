"""A cached file remembers when it was used last."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from editing.memit import tensor_cache


def test_loading_a_file_notes_its_use_and_leaves_the_time_at_which_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "moment.safetensors"
    tensor_cache.store(path, {"moment": torch.ones(2)}, {"samples": "1"})
    os.utime(path, (1, 1))
    assert tensor_cache.load(path) is not None
    status = path.stat()
    assert status.st_mtime == 1
    assert status.st_atime > 1_000_000_000
