"""A full disk is said once, before the work where it can be known, and costs nothing that was finished."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.durable import STAGING, make_directory, write_file
from editing.errors import EditingError, StorageError
from editing.memit import tensor_cache
from editing.memit.build import estimate
from editing.preflight import check_disk
from editing.worker.process import classify
from tests.support.builds import SETTINGS, built, inputs
from tests.support.zoo import TEXT, tiny, tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def fill(directory: Path, left: int = 0) -> Path:
    """Take all space of a file system but `left` bytes."""
    filler = directory / "filler"
    free = os.statvfs(directory)
    with filler.open("wb", buffering=0) as file:
        file.write(bytes(max(free.f_bavail * free.f_bsize - left, 0)))
    return filler


def test_what_does_not_fit_on_the_disk_is_refused_before_the_work(tmpfs: Path, corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32, n_inner=1024)
    expected = estimate(model, tokenizer("byte-bpe"), inputs(tmpfs / "cache", corpus))
    assert expected.bytes_cache > 2 * 1024**2 * 4, "the second moments of two layers"
    assert expected.bytes_result == 4 * 1024 * 32 * 4, "W_out of four layers"
    assert "free" in dict(expected.lines())["disk"]
    with pytest.raises(StorageError, match=r"about \d+ MiB to .*free some space.*Nothing was begun"):
        built(tmpfs / "cache", corpus, model=model)
    assert not list((tmpfs / "cache").glob("deltas/*"))


def test_the_result_and_the_cache_share_a_disk_or_do_not(tmpfs: Path, tmp_path: Path, corpus: Path) -> None:
    expected = estimate(tiny("llama", dtype=torch.float32), tokenizer("byte-bpe"), inputs(tmp_path, corpus))
    half = replace(expected, bytes_cache=600 << 10, bytes_result=600 << 10)
    check_disk(half, tmpfs / "cache", tmp_path / "out")
    check_disk(half, tmp_path / "cache", tmpfs / "out")
    with pytest.raises(StorageError):
        check_disk(half, tmpfs / "cache", tmpfs / "out")


@pytest.mark.parametrize("phase", ["targets", "statistics", "keys"])
def test_a_disk_that_fills_up_in_any_phase_is_one_clear_error(phase: str, tmpfs: Path, corpus: Path) -> None:
    filler: list[Path] = []

    def progress(now: str, done: int, total: int) -> None:
        if now == phase and not filler:
            filler.append(fill(tmpfs))

    cache = tmpfs / "cache"
    settings = replace(SETTINGS, statistics_samples=4)
    if phase == "keys":  # nothing is written any more but what later builds gain from
        assert built(cache, corpus, settings=settings, progress=progress).tensors
        return
    with pytest.raises(StorageError, match="No space left on device; free some space, then repeat") as caught:
        built(cache, corpus, settings=settings, progress=progress)
    assert classify(caught.value) == ("data", False), "trying again at once would fail again"
    assert not list(cache.rglob(f"{STAGING}*"))
    filler[0].unlink()
    assert built(cache, corpus, settings=settings).cost.groups_cached == (0 if phase == "targets" else 4)


def test_every_write_of_the_cache_names_its_file_and_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for write in (
        lambda: write_file(tmp_path / "absent" / "x", b""),
        lambda: make_directory(blocked / "below"),
        lambda: tensor_cache.store(blocked / "x.safetensors", {"a": torch.zeros(1)}, {}),
    ):
        with pytest.raises(StorageError, match=r"cannot write /.*look at the disk"):
            write()
    assert issubclass(StorageError, EditingError)
