"""The simulation of builds on large clusters: what its figures have to obey."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.ray_simulation import Driver, Machine, Model, scheduled, simulated, split

SHAPE = Model(
    bytes=12e9,
    target_flops=1e13,
    key_flops=2e12,
    layer_flops=7e11,
    column_bytes=5e5,
    exam_flops=4e12,
    d_k=16384,
    layers=6,
    columns=6,
    statistics_flops=7e14,
)
FREE = Machine(storage_bytes=1e18, storage_files=1e18, start_s=0.0)
NONE = Driver(prepare_s=0.0, task_s=0.0, round_s=0.0)


def test_without_overhead_the_shares_scale_and_the_rest_does_not() -> None:
    alone, many = (simulated(100_000, workers, SHAPE, FREE, NONE) for workers in (1, 64))
    assert alone.work == many.work
    assert many.shares == pytest.approx(alone.shares / 64, rel=0.2), "a share is a little larger than another"
    assert {**many.undivided, "start": 0.0} == pytest.approx({**alone.undivided, "start": 0.0})


def test_no_number_of_gpus_is_faster_than_what_is_not_divided() -> None:
    many = simulated(100_000, 512, SHAPE, FREE, NONE)
    assert many.total > sum(many.undivided.values())
    assert many.keys < simulated(100_000, 1, SHAPE, FREE, NONE).keys / 64
    assert many.exam == pytest.approx(simulated(100_000, 8, SHAPE, FREE, NONE).exam), (
        "of at most eight shares"
    )
    assert many.limit == "exam"


def test_storage_bounds_how_fast_residuals_are_written_and_the_base_is_read() -> None:
    slow = replace(FREE, storage_files=1.0)
    assert simulated(10_000, 512, SHAPE, slow, NONE).shares == 10_000
    reading = replace(FREE, storage_bytes=12e9)
    assert simulated(10_000, 512, SHAPE, reading, NONE).limit == "start"


def test_shares_are_all_facts_and_whoever_is_idle_takes_the_next() -> None:
    sizes = split(1_000_000, 2048)
    assert sum(sizes) == pytest.approx(1_000_000, rel=0.01)
    assert scheduled([3.0, 1.0, 1.0, 1.0], 2) == [3.0, 3.0]
    assert scheduled([5.0], 3) == [0.0, 0.0, 5.0]
