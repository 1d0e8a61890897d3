"""`benchmarks.paper --jobs`: what runs where, within which time, and that the reports are of what was measured."""

from __future__ import annotations

import json
import sys
import threading
import time
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import paper, paper_jobs
from benchmarks.paper_jobs import PRETRAINED, TESTBED, TRACING, Job, JobEnd
from kbsync.experiments.registry import EXPERIMENTS


def options(tmp_path: Path, **more: Any) -> Namespace:
    given = {"home": tmp_path / "home", "out": tmp_path / "out", "pretrained": tmp_path / "model"}
    given |= {"settings": None, "jobs": 4, "minutes": 5.0, "device": "cuda", "full": True}
    return Namespace(**(given | more))


def test_both_models_are_measured_as_far_as_an_experiment_fits_them(tmp_path: Path) -> None:
    jobs = [*paper_jobs.on_gpu(options(tmp_path)), *paper_jobs.on_cpu()]
    assert len({job.name for job in jobs}) == len(jobs)
    of = {model: {job.experiment for job in jobs if job.model == model} for model in (TESTBED, PRETRAINED)}
    assert of[TESTBED] == EXPERIMENTS.keys() - {"sequence", "stars"}
    assert of[PRETRAINED] == {"stars", "table", "ablations", "scaling", "editors", TRACING}
    assert {job.model for job in paper_jobs.on_gpu(options(tmp_path, pretrained=None))} == {TESTBED}
    for name in ("scaling", "table", "editors"):
        own = [job.editors.split(",") for job in jobs if (job.model, job.experiment) == (TESTBED, name)]
        assert sorted(editor for some in own for editor in some) == sorted(
            ["memit", "memit_null_space", "one_gradient", "ft_w", "locft_bf", "rome", "mend", "retrieval"]
        )


def test_a_command_names_device_time_size_and_a_home_that_shares_the_cache(tmp_path: Path) -> None:
    job = Job(PRETRAINED, "table", "cuda", "memit,rome")
    line = paper_jobs.command(job, options(tmp_path), tmp_path / "out", 2.5)
    assert line[1:] == [
        "-m", "kbsync", "--home", str(tmp_path / "home/jobs/pretrained-table-memit-rome-1"), "bench", "table",
        "--device", "cuda", "--out", str(tmp_path / "out"), "--minutes", "2.50", "--editors", "memit,rome",
        "--model", str(tmp_path / "model"),
    ]  # fmt: skip
    config = tmp_path / "home/jobs/pretrained-table-memit-rome-1/kbsync.toml"
    assert tomllib.loads(config.read_text(encoding="utf-8"))["model"]["shared"] == str(
        tmp_path / "home/shared"
    )
    quick = paper_jobs.command(Job(TESTBED, "table", "cpu"), options(tmp_path, full=False), tmp_path, 1.0)
    assert "--quick" in quick
    few = paper_jobs.on_gpu(options(tmp_path))[0]
    assert "--quick" in paper_jobs.command(few, options(tmp_path), tmp_path, 1.0)
    assert "--model" not in quick
    traced = paper_jobs.command(Job(PRETRAINED, TRACING, "cuda"), options(tmp_path), tmp_path, 1.0)
    assert traced[2:5] == ["benchmarks.tracing", "--model", str(tmp_path / "model")]


def test_the_pretrained_editors_have_the_device_to_themselves_and_reports_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, running, seen, order = threading.Lock(), set[str](), dict[str, set[str]](), list[str]()

    def performed(job: Job, _: Namespace, ends: float) -> JobEnd:
        with lock:
            running.add(job.name)
            seen[job.name] = {name for name in running if "cpu" not in name}
            order.append(job.name)
        time.sleep(0.01)
        with lock:
            running.discard(job.name)
        return JobEnd(job.name, 0, 0.01)

    def reported(job: Job, _: Namespace) -> JobEnd:
        order.append("report")
        return JobEnd(job.name, int(job.experiment == "stars"), 0.01)

    monkeypatch.setattr(paper_jobs, "perform", performed)
    monkeypatch.setattr(paper_jobs, "write_report", reported)
    given = options(tmp_path)
    given.out.mkdir()
    assert paper_jobs.run(given) == 1  # one report could not be written
    head = paper_jobs.on_gpu(given)[0]
    on_device = {job.name for job in paper_jobs.on_gpu(given)}
    assert head.experiment == "editors"
    assert seen[head.name] & on_device == {head.name}
    assert set(order[order.index("report") :]) == {"report"}
    written = json.loads((given.out / "jobs.json").read_text(encoding="utf-8"))
    assert {one["job"] for one in written["jobs"]} >= on_device
    assert len(written["reports"]) == order.count("report")


def test_what_its_share_of_the_time_does_not_suffice_for_has_a_second_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[tuple[str, float]] = []
    now = 100.0
    monkeypatch.setattr(paper_jobs, "time", Namespace(monotonic=lambda: now))

    def performed(job: Job, _: Namespace, ends: float) -> JobEnd:
        times.append((job.experiment, ends - now))
        return JobEnd(job.name, 0, 1000.0 if job.experiment == "table" else 0.0)

    monkeypatch.setattr(paper_jobs, "perform", performed)
    jobs = [Job(TESTBED, name, "cpu") for name in ("scaling", "table", "mixtures", "categories")]
    ends = paper_jobs.in_turns(jobs, 1, options(tmp_path), now + 4000)
    assert len(ends) == 5
    assert [name for name, _ in times] == [*(job.experiment for job in jobs), "table"]
    assert [left for _, left in times] == [1000, 1000, 1000, 1000, 4000]
    times.clear()
    paper_jobs.in_turns(jobs, 1, options(tmp_path), now + 2 * paper_jobs.LEAST_S)
    assert times[0][1] == paper_jobs.LEAST_S


def test_a_process_that_overruns_is_killed_and_one_without_time_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, job = options(tmp_path), Job(TESTBED, "table", "cpu")
    monkeypatch.setattr(paper_jobs, "GRACE_S", 0.1)
    program = "import time; print('begun', flush=True); time.sleep(600)"
    monkeypatch.setattr(paper_jobs, "command", lambda *_: [sys.executable, "-c", program])
    assert paper_jobs.perform(job, given, time.monotonic() - 1) == JobEnd(job.name, 0, 0.0)
    end = paper_jobs.perform(job, given, time.monotonic() + 0.1)
    assert end.code != 0
    assert end.seconds < 600, "it would sleep so long"
    monkeypatch.setattr(paper_jobs, "command", lambda *_: [sys.executable, "-c", "print('done')"])
    assert paper_jobs.write_report(job, given).code == 0
    log = given.home / "jobs" / job.name / "log"
    assert log.read_text(encoding="utf-8").endswith("done\n")


def test_the_command_of_the_paper_hands_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Namespace] = []
    monkeypatch.setattr(paper_jobs, "run", lambda found: given.append(found) or 0)
    line = ["--home", str(tmp_path), "--out", str(tmp_path), "--jobs", "8", "--minutes", "4", "--full"]
    assert paper.main([*line, "--device", "cuda"]) == 0
    (found,) = given
    assert (found.jobs, found.minutes, found.device, found.full) == (8, 4.0, "cuda", True)
