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
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from state.records import Deployment
from tests.support.micro import Micro
from tests.support.real_weights import RealSglang, RealVllm, RealWeights, Wrong, wrongs
from tests.support.served_world import notify, two_versions
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
    for number in range(count):
        kind = drawn.choice(sorted(servers))
        dtype, attention = drawn.choice(DTYPES), drawn.choice(ATTENTION)
        server = servers[kind]
        server.wrong, server.count, server.dtype, server.attention = (
            Wrong(),
            drawn.choice((1, 2)),
            dtype,
            attention,
        )
        server.batching = random.Random(number)
        row = deployed(micro, server, kind)
        ways[f"{kind}, {str(dtype).removeprefix('torch.')}"] += 1
        if row.state != "deployed":
            alarms.append(f"deploy {number}, {kind}, {dtype}, {attention}: {row.detail}")
        if number % 50 == 49:
            print(
                f"{number + 1} honest deploys, {len(alarms)} alarms, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    return {"deploys": count, "alarms": len(alarms), "what": alarms, "ways": dict(sorted(ways.items()))}


def wrong(
    micro: Micro, servers: Mapping[str, RealWeights], count: int, what: Wrong, replicas: int
) -> dict[str, Any]:
    """Deploys to servers that are wrong in one way: how many were found, and as what."""
    named = Counter[str]()
    for number in range(count):
        kind = sorted(servers)[number % len(servers)]
        server = servers[kind]
        server.wrong, server.count, server.batching = what, replicas, random.Random(number)
        server.dtype, server.attention = torch.float32, ATTENTION[number // len(servers) % len(ATTENTION)]
        row = deployed(micro, server, kind)
        named[row.observed if row.state == "failed" else "not found"] += 1
        server.wrong = Wrong()
        notify(micro, kind)
    return {"deploys": count, "found": count - named["not found"], "named": dict(named)}


def deployed(micro: Micro, server: RealWeights, kind: str) -> Deployment:
    """The server restarts on the first version, and gets the second one."""
    server.launched_with = micro.home.checkpoint("1-1")
    server.restart()
    return notify(micro, kind)


if __name__ == "__main__":
    main()
