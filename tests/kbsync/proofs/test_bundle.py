"""A bundle holds what an auditor needs, and is checked from itself alone."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from editing.spec import BuildReport, Cost, Measure
from kbsync.home import Home
from tests.support.proven import kbsync


def unpacked(home: Path, into: Path, *arguments: object) -> Path:
    report = Home(home).round(1, 1).prepare().report
    BuildReport("1-1", "b", "1-1", "d", (), (Measure("efficacy", 1.0, 2, 2),), Cost(), {}).write(report)
    assert kbsync(home, "audit", "bundle", *arguments, "--out", home / "bundle.zip") == 0
    with zipfile.ZipFile(home / "bundle.zip") as archive:
        archive.extractall(into)
    return into


@pytest.mark.parametrize(
    ("arguments", "proofs"),
    [
        (("--run", 1), {"proof.json"}),
        (("--fact", 1), {"proof.json", "proof-live.json"}),
        (("--fact", 3), {"proof.json", "proof-live.json"}),
        (("--from", "2024-01-01", "--to", "2024-01-02"), {"proof.json"}),
    ],
)
def test_a_bundle_is_checked_with_what_is_in_it(
    home: Path, tmp_path: Path, arguments: tuple[object, ...], proofs: set[str]
) -> None:
    bundle = unpacked(home, tmp_path / "auditor", *arguments)
    key = json.loads((bundle / "proof.json").read_text())["key"]
    assert {file.name for file in bundle.glob("proof*.json")} == proofs
    for name in proofs:
        done = subprocess.run(
            [sys.executable, "-I", "verify_proof.py", name, "--key", key],
            cwd=bundle,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    page = (bundle / "index.html").read_text()
    for name in ("verify_proof.py", "events.jsonl", key.partition("+")[0]):
        assert name in page


def test_a_bundle_of_a_run_has_its_reports(home: Path, tmp_path: Path) -> None:
    bundle = unpacked(home, tmp_path / "auditor", "--run", 1)
    assert BuildReport.read(bundle / "runs" / "1" / "round-1" / "report.json").run == "1-1"
    events = [json.loads(line) for line in (bundle / "events.jsonl").read_text().splitlines()]
    assert {event["run"] for event in events} == {1}


def test_a_bundle_of_nothing_or_of_two_things_is_refused(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (((), "a bundle is of one thing"), (("--run", 9), "the log has nothing of run 9")):
        assert kbsync(home, "audit", "bundle", *arguments, "--out", home / "bundle.zip") == 2
        assert said in capfd.readouterr().err
