"""Whether a server that serves something else than was judged is found, and how often an honest one is accused.

    python -m benchmarks.served [--deploys N] [--wrong N] [--json FILE]

A micro kbsync builds two versions of a tiny model that was taught, and deploys the second one over the first again and
again: to vLLM's and SGLang's requests, answered by servers with real weights.  Honest servers compute in fp32, bf16 or
fp16, with two kinds of attention, in batches of random size and with a prefix cache; wrong ones serve something else
(`tests/support/real_weights.py`).  Writes benchmarks/results/served.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import structlog
import torch

from kbsync.service.cycle import notify_servers
from state.records import Deployment
from tests.support.micro import Micro
from tests.support.real_weights import RealSglang, RealVllm, RealWeights, Wrong, wrongs
from tests.support.served_world import two_versions
from tests.support.stand_ins import listening

RESULTS = Path(__file__).with_name("results") / "served.json"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATTENTION = ("sdpa", "eager")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--deploys", type=int, default=500, help="honest deploys")
    options.add_argument("--wrong", type=int, default=10, help="deploys to each kind of wrong server")
    options.add_argument("--json", type=Path, default=RESULTS)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with ExitStack() as stack:
        servers: dict[str, RealWeights] = {"vllm": RealVllm(), "sglang": RealSglang()}
        for server in servers.values():
            stack.enter_context(listening(server))
        root = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "world"
        micro = two_versions(root, servers)
        found = {
            "honest": honest(micro, servers, chosen.deploys),
            "wrong": {
                name: wrong(micro, servers, chosen.wrong, what, count) for name, what, count in wrongs()
            },
        }
    chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def honest(micro: Micro, servers: Mapping[str, RealWeights], count: int) -> dict[str, Any]:
    """Deploys to honest servers: how many were confirmed at once, and what the others were accused of."""
    drawn, started = random.Random(0), time.perf_counter()
    alarms, ways = [], Counter[str]()
    with noticing(micro) as notice:
        for number in range(count // len(servers)):
            for server in servers.values():
                server.wrong, server.count = Wrong(), drawn.choice((1, 2))
                server.dtype, server.attention = drawn.choice(DTYPES), drawn.choice(ATTENTION)
                server.batching = random.Random(number)
                restarted(micro, server)
            for kind, row in notice().items():
                way = f"{kind}, {str(servers[kind].dtype).removeprefix('torch.')}, {servers[kind].attention}"
                ways[way] += 1
                if row.state != "deployed":
                    alarms.append(f"deploy {number}, {way}: {row.detail}")
            if number % 25 == 24:
                print(
                    f"{ways.total()} honest deploys, {len(alarms)} alarms, {time.perf_counter() - started:.0f} s",
                    flush=True,
                )
    return {
        "deploys": ways.total(),
        "alarms": len(alarms),
        "what": alarms,
        "ways": dict(sorted(ways.items())),
    }


def wrong(
    micro: Micro, servers: Mapping[str, RealWeights], count: int, what: Wrong, replicas: int
) -> dict[str, Any]:
    """Deploys to servers that are wrong in one way: how many were found, and as what."""
    named = Counter[str]()
    with noticing(micro) as notice:
        for number in range(count // len(servers)):
            for server in servers.values():
                server.wrong, server.count, server.batching = what, replicas, random.Random(number)
                server.dtype, server.attention = torch.float32, ATTENTION[number % len(ATTENTION)]
                restarted(micro, server)
            named.update(row.observed if row.state == "failed" else "not found" for row in notice().values())
            for server in servers.values():
                server.wrong = Wrong()
            notice()
    return {"deploys": named.total(), "found": named.total() - named["not found"], "named": dict(named)}


def restarted(micro: Micro, server: RealWeights) -> None:
    """The server restarts with the first version."""
    server.launched_with = micro.home.checkpoint("1-1")
    server.restart()


@contextmanager
def noticing(micro: Micro) -> Iterator[Callable[[], dict[str, Deployment]]]:
    """What lets the daemon look at its servers once; it returns the newest row of every hook."""
    app = micro.application()
    with app.leading() as leadership:

        def notice() -> dict[str, Deployment]:
            notify_servers(app, leadership, asked=True)
            with app.state.read() as tx:
                return {row.hook: row for row in tx.deployments()}

        yield notice
    app.close()


if __name__ == "__main__":
    main()
