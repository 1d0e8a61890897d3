"""`python -m editing.cluster`: a worker whose rounds are done by actors on a Ray cluster; see `driver.py`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

from editing.cluster.plan import ClusterPlan
from editing.errors import SpecError
from editing.worker.process import RoundRunner
from editing.worker.process import main as serve
from editing.worker.protocol import Channel


def main(argv: Sequence[str] | None = None) -> int:
    """Serve rounds until the input ends; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m editing.cluster", description=__doc__)
    parser.add_argument("--address", help="of the cluster's head, such as head.example.org:6379, or auto")
    parser.add_argument("--workers", type=int, default=2, help="actors, each with the base in memory")
    parser.add_argument("--cpus", type=float, default=1.0, help="CPUs of each actor")
    parser.add_argument("--devices", type=float, default=0.0, help="GPUs of each actor")
    parser.add_argument(
        "--storage", help="URL of an object store that all nodes use; else they share a file system"
    )
    parser.add_argument("--base", help="directory on the nodes that has the imported base already")
    parser.add_argument(
        "--least",
        type=int,
        default=128,
        help="fewest facts, or key groups, of a share of questions, or of keys",
    )
    parser.add_argument("--connect-s", type=float, default=120.0, help="seconds that connecting may take")
    parser.add_argument("--start-s", type=float, default=600.0, help="seconds to wait while no actor runs")
    plan = ClusterPlan(**vars(parser.parse_args(argv)))
    if (
        plan.address is None
        and not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    ):
        # Only this process and its children may use a cluster of its own; Ray itself would leave a token in the home.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    # Actors without GPUs keep CUDA_VISIBLE_DEVICES, as Ray will do from its next version on.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return serve(lambda channel: cluster(channel, plan))


def cluster(channel: Channel, plan: ClusterPlan) -> RoundRunner:
    """Whoever does the rounds.  Raises SpecError if Ray is not installed."""
    try:
        from editing.cluster.driver import Cluster
    except ImportError as error:
        raise SpecError(
            f"builds on a Ray cluster need Ray ({error}): install the extra, pip install 'kbsync[ray]', "
            'or set [executor] kind = "local"'
        ) from error
    return Cluster(channel, plan)


if __name__ == "__main__":
    sys.exit(main())
