"""What the exam of a candidate costs today, and what it cost in an earlier version, in CPU time.

    kbsync --home demo-home demo
    python -m benchmarks.exam_cost --home demo-home --earlier COMMIT [--out DIR]

The candidate of the demo's run with most new facts is judged again, beside live, by the code of this working tree and
by that of an earlier commit, in turns, each time in a process of its own with one thread.  CPU time is what the phase
`judge` of the worker takes, whatever else the machine does.  The parent of the commit that added
`editing/evaluation/free_answers.py` has the gates that looked at likelihoods and sampled text.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tarfile import open as open_archive
from typing import Any

from editing.storage.manifest import NAME as MANIFEST
from editing.storage.manifest import read_manifest
from kbsync.home import Home
from tests.support.paths import REPOSITORY

JUDGE = """
import json, sys, time
time.perf_counter = time.process_time  # what the worker times its phases with
from dataclasses import fields
from io import StringIO
from pathlib import Path
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, FactSpec
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop

def known(kind, values):
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}

file = Path(sys.argv[1])
spec = known(BuildSpec, json.loads(file.read_text()))
spec["facts"] = [known(FactSpec, fact) for fact in spec["facts"]]
spec["settings"] = known(EditSettings, spec["settings"])
file.write_text(json.dumps(spec))
report = BuildReport.read(Workshop(Channel(StringIO())).round(file))
seconds = report.cost.seconds["judge"] if hasattr(report.cost, "seconds") else report.cost["seconds_judge"]
print(json.dumps({"seconds": seconds, "measures": {one.name: one.n for one in report.measures}}))
"""
"""Judges the candidate of the spec in a file with the code on the path, without what that version does not know."""


def exam(home: Home) -> dict[str, Any]:
    """The spec of the run with most new facts whose candidate is still there, to be judged only."""
    specs = [json.loads(file.read_bytes()) for file in home.runs.glob("*/round-*/spec.json")]
    kept = [one for one in specs if one["out"] and Path(one["out"]).is_dir()]
    if not kept:
        raise SystemExit(f"{home.root} has no candidate: run `kbsync --home {home.root} demo`")
    return max(kept, key=new_facts) | {"mode": "judge", "threads": 1}


def new_facts(spec: dict[str, Any]) -> int:
    """How many facts the run adds that the base does not state."""
    return sum(not fact["in_live"] and not fact["known"] for fact in spec["facts"])


def readable(spec: dict[str, Any], into: Path) -> dict[str, Any]:
    """The spec with candidate and live as directories that any version can read: manifests without later entries."""
    for name in ("out", "live"):
        if spec[name] is None:
            continue
        copied = into / name
        copied.mkdir()
        manifest = read_manifest(Path(spec[name]))
        for file in manifest.files:
            (copied / file).parent.mkdir(exist_ok=True)
            (copied / file).symlink_to(Path(spec[name]) / file)
        (copied / MANIFEST).write_bytes(replace(manifest, tensors={}, forms={}).to_bytes())
        spec = spec | {name: str(copied)}
    return spec


def checked_out(commit: str, into: Path) -> Path:
    """The tree of a commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True)
    with open_archive(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(into, filter="data")
    return into


def without_probes(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec without the secret questions that servers are asked after a deploy: no gate judges these."""
    return spec | {"secret_questions": None, "secret_answers": None}


def judged(code: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds and numbers of cases of one exam by the code in a directory."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "spec.json"
        secret = {"secret_answers": f"{directory}/answers.json"} if spec.get("secret_questions") else {}
        file.write_text(json.dumps(spec | secret), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", JUDGE, str(file)],
            env={**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            check=True,
            cwd=directory,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(home: Home, commit: str, repeats: int) -> dict[str, Any]:
    """The faster exam of several, of each version."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("code", "models"):
            (Path(directory) / name).mkdir()
        spec = readable(exam(home), Path(directory) / "models")
        exams = {
            "earlier": (checked_out(commit, Path(directory) / "code"), spec),
            "today": (REPOSITORY, without_probes(spec)),
            "today, with the probes of servers": (REPOSITORY, spec),
        }
        runs = [{name: judged(*one) for name, one in exams.items()} for _ in range(repeats)]
    seconds = {name: [round(run[name]["seconds"], 2) for run in runs] for name in exams}
    return {
        "commit": commit,
        "new_facts": new_facts(spec),
        "facts": len(spec["facts"]),
        "cpu_seconds": seconds,
        "ratios": {name: round(min(one) / min(seconds["earlier"]), 2) for name, one in seconds.items()},
        "measures": {name: runs[0][name]["measures"] for name in exams},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, required=True, help="a home that `kbsync demo` left behind")
    parser.add_argument("--earlier", required=True, help="commit to compare with")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    found = compared(Home(options.home.resolve()), options.earlier, options.repeats)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "exam-cost.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: found[name] for name in ("cpu_seconds", "ratios")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
