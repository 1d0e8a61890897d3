"""The solve of a layer within a memory budget, against the dense one: `python -m benchmarks.blocked_solve`.

For each d_k, Woodbury's form (14) for 200 edits with second moments from a file, dense and by panels, each in a process
of its own: seconds of CPU time, peak anonymous memory above that before the solve, and how far the results are apart.
Writes `blocked-solve.json` and `.md` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from editing.memit import tensor_cache
from editing.memit.blocked import BlockedSystem, MatrixParts
from editing.memit.solve import factorise, solve_few

RESULTS = Path(__file__).parent / "results"
EDITS, LAM, RIDGE = 200, 15_000.0, 1e-3


def draw(d_k: int, scratch: Path) -> None:
    """Second moments in fp32, as the cache stores them, keys and residuals."""
    generator = torch.Generator().manual_seed(d_k)
    moment = torch.zeros(d_k, d_k)
    for _ in range(4):
        text = torch.randn(d_k // 2, d_k, generator=generator)
        moment.addmm_(text.T, text, alpha=1 / (2 * d_k))
    tensor_cache.store(scratch / "moment.safetensors", {"moment": moment}, {})
    keys = torch.randn(EDITS, d_k, generator=generator, dtype=torch.float64)
    residuals = torch.randn(EDITS, d_k // 4, generator=generator, dtype=torch.float64)
    torch.save((keys, residuals), scratch / "columns.pt")


class Peak:
    """The largest anonymous resident memory of the process inside, sampled; pages of mapped files are not counted."""

    def __init__(self) -> None:
        self.before, self.bytes = _anonymous(), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.bytes = max(self.bytes, _anonymous() - self.before)


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def measure(way: str, d_k: int, scratch: Path, budget: int) -> dict[str, float]:
    """One solve in this process; its result is saved."""
    keys, residuals = torch.load(scratch / "columns.pt")
    stored = tensor_cache.StoredMatrix(scratch / "moment.safetensors", "moment")
    peak, began = Peak(), time.process_time()
    with peak:
        if way == "dense":
            moment = stored.rows(0, d_k).double()
            moment.diagonal().add_(RIDGE * moment.diagonal().mean())
            update = solve_few(factorise(moment)[0], LAM, keys, residuals)
        else:
            parts = MatrixParts(stored, d_k, RIDGE)
            system = BlockedSystem(parts.columns, d_k, parts.mean, budget, scratch)
            update, _ = system.few(LAM, keys, residuals)
    seconds = time.process_time() - began
    torch.save(update, scratch / f"{way}.pt")
    return {"seconds": round(seconds, 1), "mib": round(peak.bytes / 2**20)}


def compared(d_k: int, share: float) -> dict[str, Any]:
    """Both ways; panels may take `share` of a matrix [d_k, d_k] in fp64."""
    budget = int(share * 8 * d_k**2)
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        draw(d_k, scratch)
        found: dict[str, Any] = {"d_k": d_k, "budget_mib": round(budget / 2**20)}
        for way in ("dense", "blocked"):
            command = [
                sys.executable,
                "-m",
                "benchmarks.blocked_solve",
                "--one",
                way,
                str(d_k),
                directory,
                str(budget),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way] = json.loads(done.stdout)
        dense, blocked = (torch.load(scratch / f"{way}.pt") for way in ("dense", "blocked"))
        found["deviation"] = float((dense - blocked).abs().max() / dense.abs().max())
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| d_k | a matrix in fp64, MiB | dense: s, MiB | blocked: s, MiB | budget, MiB | deviation |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        dense, blocked = row["dense"], row["blocked"]
        lines.append(
            f"| {row['d_k']:,} | {8 * row['d_k'] ** 2 / 2**20:.0f} | {dense['seconds']}, {dense['mib']} "
            f"| {blocked['seconds']}, {blocked['mib']} | {row['budget_mib']} | {row['deviation']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192])
    parser.add_argument("--share", type=float, default=0.25, help="of a matrix, for panels")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        way, d_k, scratch, budget = options.one
        print(json.dumps(measure(way, int(d_k), Path(scratch), int(budget))))
        return
    rows = [compared(size, options.share) for size in options.sizes]
    about = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": 1,
        "edits": EDITS,
        "rows": rows,
    }
    (RESULTS / "blocked-solve.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "blocked-solve.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
